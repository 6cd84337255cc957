//! Zone files of a running server: files that appear, change, and have errors.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use hickory_proto::op::Message;

use crate::support::{Ndots, lab::until, question, rejected};

const PATIENCE: Duration = Duration::from_secs(20);
const A: u16 = 1;

fn zone(serial: u32, last: u8) -> String {
    format!(
        "$TTL 60\n@ SOA ns hostmaster {serial} 7200 3600 1209600 60\nwww A 192.0.2.{last}\n$INCLUDE more\n"
    )
}

fn corefile(directory: &Path, options: &str) -> String {
    format!(
        "example.org:0 {{\n bind 127.0.0.1\n root {}\n file db.example.org {{\n  {options}\n }}\n}}\n",
        directory.display()
    )
}

/// The code and the data of the answer's records.
fn answer(ndots: &Ndots, name: &str) -> String {
    let packet = ndots.udp(&question(7, name, A)).expect("a reply");
    let message = Message::from_vec(&packet).unwrap();
    let records = message.answers.iter().map(|record| format!(" {}", record.data));
    format!("{}{}", message.metadata.response_code, records.collect::<String>())
}

fn wait_for(ndots: &Ndots, name: &str, expected: &str) {
    until(expected, PATIENCE, || (answer(ndots, name) == expected).then_some(()));
}

/// Waits for a line of the log that contains the text.
fn wait_for_line(ndots: &Ndots, text: &str) -> String {
    loop {
        let line =
            ndots.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line with {text}"));
        if line.contains(text) {
            return line;
        }
    }
}

#[test]
fn a_file_is_used_as_soon_as_its_serial_changes() {
    let directory = tempfile::tempdir().unwrap();
    let (file, more) = (directory.path().join("db.example.org"), directory.path().join("more"));
    let ndots = Ndots::corefile(&corefile(directory.path(), "reload 1s"), &["dns"], &[]);
    assert_eq!(answer(&ndots, "www.example.org"), "Server Failure");
    let deep = directory.path().join("deep");
    fs::write(&deep, "deep A 192.0.2.41\n").unwrap();
    fs::write(&more, "ftp A 192.0.2.21\n$INCLUDE deep\n").unwrap();
    fs::write(&file, zone(1, 1)).unwrap();
    wait_for(&ndots, "www.example.org", "No Error 192.0.2.1");

    fs::write(&file, zone(1, 2)).unwrap();
    wait_for_line(&ndots, "has changed, but its serial is still 1");
    assert_eq!(answer(&ndots, "www.example.org"), "No Error 192.0.2.1");
    fs::write(&file, zone(2, 2)).unwrap();
    wait_for(&ndots, "www.example.org", "No Error 192.0.2.2");

    fs::write(&file, zone(3, 3) + "broken A 192.0.2.\n").unwrap();
    let line = wait_for_line(&ndots, "the last valid zone example.org. stays");
    assert!(line.contains("db.example.org:5: broken.example.org. A: `192.0.2.`"), "{line}");
    assert_eq!(answer(&ndots, "www.example.org"), "No Error 192.0.2.2");
    fs::write(&file, zone(3, 3)).unwrap();
    wait_for(&ndots, "www.example.org", "No Error 192.0.2.3");

    // A file that is included is watched, and a serial may become smaller.
    fs::write(&more, "ftp A 192.0.2.22\n$INCLUDE deep\n").unwrap();
    wait_for_line(&ndots, "has changed, but its serial is still 3");
    fs::write(&file, zone(2, 3)).unwrap();
    wait_for(&ndots, "ftp.example.org", "No Error 192.0.2.22");
    // So is a file that an included file includes.
    fs::write(&deep, "deep A 192.0.2.42\n").unwrap();
    wait_for_line(&ndots, "has changed, but its serial is still 2");
    fs::write(&file, zone(3, 3)).unwrap();
    wait_for(&ndots, "deep.example.org", "No Error 192.0.2.42");
    fs::write(&file, zone(2, 5)).unwrap();
    wait_for(&ndots, "www.example.org", "No Error 192.0.2.5");
    fs::remove_file(&file).unwrap();
    wait_for_line(&ndots, "the last zone example.org. stays");
    assert_eq!(answer(&ndots, "ftp.example.org"), "No Error 192.0.2.22");

    // SIGUSR1 reads the file again even if the serial is the same.
    fs::write(&file, zone(2, 4)).unwrap();
    wait_for_line(&ndots, "has changed, but its serial is still 2");
    ndots.child.signal("USR1");
    wait_for(&ndots, "www.example.org", "No Error 192.0.2.4");
}

#[test]
fn any_change_counts_with_reload_by_mtime_and_none_with_reload_0() {
    for (options, expected) in
        [("reload_by_mtime", "No Error 192.0.2.2"), ("reload 0", "No Error 192.0.2.1")]
    {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("db.example.org");
        fs::write(directory.path().join("more"), "").unwrap();
        fs::write(&file, zone(1, 1)).unwrap();
        let ndots = Ndots::corefile(&corefile(directory.path(), options), &["dns"], &[]);
        assert_eq!(answer(&ndots, "www.example.org"), "No Error 192.0.2.1");
        fs::write(&file, zone(1, 2)).unwrap();
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(answer(&ndots, "www.example.org"), expected, "{options}");
    }
}

#[test]
fn an_error_in_a_file_ends_the_start_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("db.example.org");
    // An octet that is not UTF-8 is allowed in a comment, and in a text.
    fs::write(&file, b"; caf\xe9\n$TTL 60\n@ SOA ns hostmaster 1 2 3 4 5\n@ TXT \"\xe9\"\nwww A\n")
        .unwrap();
    let text = rejected(&corefile(directory.path(), "reload 0"));
    let place = format!("{}:5: www.example.org. A: an IPv4 address is missing", file.display());
    assert!(text.contains(&place), "{text}");
}

#[test]
fn files_of_a_directory_are_found_when_they_are_added() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    // A volume of Kubernetes: the files are links through `..data`. The directory is a link, too.
    let volume = home.join("..2026_01_01");
    fs::create_dir(&volume).unwrap();
    symlink("..2026_01_01", home.join("..data")).unwrap();
    symlink("..data/db.example.org", home.join("db.example.org")).unwrap();
    let link = tempfile::tempdir().unwrap();
    let zones = link.path().join("zones");
    symlink(home, &zones).unwrap();
    let text = |serial: u32, last: u8| {
        format!(
            "$TTL 60\n@ SOA ns hostmaster {serial} 7200 3600 1209600 60\nwww A 192.0.2.{last}\n"
        )
    };
    fs::write(volume.join("db.example.org"), text(1, 1)).unwrap();
    let corefile = format!(
        ".:0 {{\n bind 127.0.0.1\n auto {{\n  directory {}\n  reload 1s\n }}\n whoami\n}}\n",
        zones.display()
    );
    let ndots = Ndots::corefile(&corefile, &["dns"], &[]);
    assert_eq!(answer(&ndots, "www.example.org"), "No Error 192.0.2.1");
    // No zone has the name, so the next plugin answers.
    assert_eq!(answer(&ndots, "www.example.net"), "No Error");
    assert_eq!(answer(&ndots, "other.example.org"), "Non-Existent Domain");

    fs::write(home.join("db.example.net"), text(1, 2)).unwrap();
    wait_for(&ndots, "www.example.net", "No Error 192.0.2.2");
    // A copy with another name does not replace the zone. An error affects one zone only.
    fs::write(home.join("old-db.example.net"), text(9, 9)).unwrap();
    fs::write(home.join("db.broken.test"), "www A 192.0.2.1\n").unwrap();
    wait_for(&ndots, "www.broken.test", "Server Failure");
    assert_eq!(answer(&ndots, "www.example.net"), "No Error 192.0.2.2");
    fs::write(home.join("db.broken.test"), text(1, 3)).unwrap();
    wait_for(&ndots, "www.broken.test", "No Error 192.0.2.3");

    // The volume changes: another directory, and the link is replaced.
    let next = home.join("..2026_01_02");
    fs::create_dir(&next).unwrap();
    fs::write(next.join("db.example.org"), text(2, 4)).unwrap();
    symlink("..2026_01_02", home.join("..tmp")).unwrap();
    fs::rename(home.join("..tmp"), home.join("..data")).unwrap();
    wait_for(&ndots, "www.example.org", "No Error 192.0.2.4");
    fs::remove_file(home.join("db.example.net")).unwrap();
    fs::remove_file(home.join("old-db.example.net")).unwrap();
    wait_for(&ndots, "www.example.net", "No Error");
}
