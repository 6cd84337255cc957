//! Starts servers with Corefiles from the field: each in a network namespace, with the files,
//! addresses and interfaces that it names, and asks a query.
//!
//! `tests/field` has forms of real deployments with neutral names. `NDOTS_FIELD` names a directory
//! with others, and `NDOTS_FIELD_PROGRAM` a program to start instead of ndots, such as CoreDNS.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
};

use crate::support::{
    encrypted::Authority,
    program,
    requirements::{require_programs, require_root},
};

/// Prints `started`, or the end of the server's log. The server sees the machine's files, overlaid
/// by the files that the Corefile names.
const SCRIPT: &str = r#"
set -e
exec 2>&1
files=$1 program=$2 kind=$3 port=$4 at=$5 addresses=$6 interfaces=$7
top=$files.mount
mkdir "$top"
mount -t tmpfs tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$top/root"
tar -C "$files" -cf - . | tar -C "$top/root" -xf - --keep-directory-symlink
touch "$top/root/program"
mount --bind "$program" "$top/root/program"
mount -t proc proc "$top/root/proc"
mount --bind /dev "$top/root/dev"
ip link set lo up
for interface in $interfaces; do
    ip link add "$interface" type dummy && ip link set "$interface" up || true
    ip address add 198.18.0.1/32 dev "$interface" || true
done
for address in $addresses; do
    case $address in
        *:*) ip address add "$address/128" dev lo nodad || true ;;
        127.*|0.0.0.0) ;;
        *) ip address add "$address/32" dev lo || true ;;
    esac
done
export KUBERNETES_SERVICE_HOST=127.0.0.1 KUBERNETES_SERVICE_PORT=6443
chroot "$top/root" env -C /field /program -conf Corefile > "$files.log" 2>&1 &
server=$!
trap 'kill -9 $server' EXIT
for _ in $(seq 120); do
    kill -0 $server 2>/dev/null || { tail -n 12 "$files.log"; exit 1; }
    if [ "$kind" = dns ]; then
        dig +tries=1 +time=1 "@$at" -p "$port" a.example A | grep -q status: && { echo started; exit; }
    elif [ "$kind" = quic ] || [ "$kind" = https3 ]; then
        [ -n "$(ss -Hlun sport = ":$port")" ] && { echo started; exit; }
    else
        (exec 3<> "/dev/tcp/$at/$port") 2>/dev/null && { echo started; exit; }
    fi
    sleep 0.25
done
echo "no reply at $at:$port"
tail -n 12 "$files.log"
exit 1
"#;

/// The files, addresses and interfaces that a Corefile names.
#[derive(Default)]
struct Named {
    /// By absolute path.
    files: BTreeMap<PathBuf, String>,
    directories: Vec<PathBuf>,
    addresses: Vec<String>,
    interfaces: Vec<String>,
    /// The scheme and the port of the first key.
    first: Option<(String, u16)>,
    /// The first address that the first block listens on.
    at: Option<String>,
}

const HOME: &str = "/field";

impl Named {
    fn of(corefile: &str, authority: &Authority) -> Self {
        let mut named = Self::default();
        let snippets: Vec<_> = corefile
            .lines()
            .filter_map(|line| line.trim().strip_prefix('(')?.split(')').next())
            .collect();
        let (mut depth, mut root, mut blocks) = (0, String::new(), 0);
        for line in corefile.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let arguments: Vec<&str> =
                words.iter().skip(1).copied().filter(|word| *word != "{").collect();
            let opens = words.last() == Some(&"{");
            if depth == 0 && !words.is_empty() && !line.trim().starts_with('(') {
                if words[0] == "import" {
                    named.import(&arguments, &snippets);
                } else if opens {
                    root.clear();
                    blocks += 1;
                    named.first_key(words[0]);
                }
            } else if let Some(first) = words.first() {
                named.directive(first, &arguments, (&snippets, &mut root), authority);
                if *first == "bind" && blocks == 1 && named.at.is_none() {
                    named.at = arguments.first().map(|at| (*at).to_owned());
                }
            }
            depth += i32::from(opens) - i32::from(words.first() == Some(&"}"));
        }
        named
    }

    fn first_key(&mut self, key: &str) {
        if self.first.is_some() {
            return;
        }
        let key = key.trim_end_matches(',');
        let (scheme, rest) = key.split_once("://").unwrap_or(("dns", key));
        let port = rest.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let usual = match scheme {
            "tls" | "quic" => 853,
            "https" | "https3" | "grpc" => 443,
            _ => 53,
        };
        self.first = Some((scheme.to_owned(), port.unwrap_or(usual)));
    }

    fn path(path: &str, root: &str) -> PathBuf {
        // An absolute path replaces what is before it.
        Path::new(HOME).join(root).join(path)
    }

    fn import(&mut self, arguments: &[&str], snippets: &[&str]) {
        let Some(path) = arguments.first() else { return };
        if snippets.contains(path) {
            return;
        }
        let path = Self::path(path, "");
        if path.to_string_lossy().contains(['*', '?']) {
            self.directories.extend(path.parent().map(Path::to_owned));
        } else {
            self.files.insert(path, "# nothing\n".to_owned());
        }
    }

    fn directive(
        &mut self,
        name: &str,
        arguments: &[&str],
        (snippets, root): (&[&str], &mut String),
        authority: &Authority,
    ) {
        let pem = |name: &str| fs::read_to_string(authority.path(name)).unwrap();
        match (name, arguments) {
            ("import", _) => self.import(arguments, snippets),
            ("root", [directory, ..]) => {
                (*directory).clone_into(root);
                self.directories.push(Self::path(directory, ""));
            }
            ("file", [path, ..]) => drop(self.files.insert(Self::path(path, root), zone())),
            ("directory", [path, ..]) => self.directories.push(Self::path(path, root)),
            ("hosts", [path, ..]) => {
                let hosts = "192.0.2.7 printer.example\n".to_owned();
                self.files.insert(Self::path(path, root), hosts);
            }
            ("kubeconfig", [path, ..]) => {
                self.files.insert(Self::path(path, root), kubeconfig());
            }
            ("tls", files) => {
                let names: &[&str] = match files.len() {
                    1 => &["ca.pem"],
                    _ => &["cert.pem", "key.pem", "ca.pem"],
                };
                for (path, name) in files.iter().zip(names) {
                    self.files.insert(Self::path(path, root), pem(name));
                }
            }
            ("bind", names) => {
                for name in names {
                    if name.parse::<std::net::IpAddr>().is_ok() {
                        self.addresses.push((*name).to_owned());
                    } else if !name.contains(['{', '$']) {
                        self.interfaces.push((*name).to_owned());
                    }
                }
            }
            ("except", ["127.0.0.1", ..]) if self.at.is_some() => self.at = Some("::1".to_owned()),
            ("forward" | "grpc" | "autopath", to) => {
                for path in to.iter().filter(|to| to.starts_with('/')) {
                    let servers = "nameserver 192.0.2.53\nsearch example.org\n".to_owned();
                    self.files.insert(Self::path(path, root), servers);
                }
            }
            _ => {}
        }
    }

    /// Writes everything below a directory.
    fn write(&self, top: &Path, corefile: &str) {
        let below = |path: &Path| top.join(path.strip_prefix("/").unwrap_or(path));
        let account = Path::new("/var/run/secrets/kubernetes.io/serviceaccount");
        let own = [
            (Path::new(HOME).join("Corefile"), corefile.to_owned()),
            (account.join("token"), "token".to_owned()),
            (account.join("namespace"), "kube-system".to_owned()),
            (PathBuf::from("/etc/resolv.conf"), "nameserver 192.0.2.53\n".to_owned()),
        ];
        for directory in &self.directories {
            fs::create_dir_all(below(directory)).unwrap();
        }
        for (path, text) in self.files.iter().chain(own.iter().map(|(path, text)| (path, text))) {
            let path = below(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
}

/// Records of any zone.
fn zone() -> String {
    "@ 60 IN SOA ns hostmaster 1 7200 1800 86400 60\n@ 60 IN NS ns\nns 60 IN A 192.0.2.1\nwww 60 IN A 192.0.2.2\n"
        .to_owned()
}

fn kubeconfig() -> String {
    "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{ name: c, context: { cluster: c, user: u } }]\n\
     clusters: [{ name: c, cluster: { server: 'http://127.0.0.1:6443' } }]\nusers: [{ name: u, user: {} }]\n"
        .to_owned()
}

/// `Ok` if the server has started and replied, otherwise its output.
fn start(program: &Path, corefile: &str, authority: &Authority) -> Result<(), String> {
    // With port 0 the system would choose the port.
    let corefile = &corefile.replace(":0 {", ":5301 {");
    let named = Named::of(corefile, authority);
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("files");
    named.write(&files, corefile);
    let ca = fs::read_to_string(authority.path("ca.pem")).unwrap();
    fs::write(files.join("var/run/secrets/kubernetes.io/serviceaccount/ca.crt"), ca).unwrap();
    let (scheme, port) = named.first.clone().unwrap_or(("dns".to_owned(), 53));
    let at = match named.at.as_deref() {
        None | Some("0.0.0.0" | "::") => "127.0.0.1",
        Some(at) if at.parse::<std::net::IpAddr>().is_ok() => at,
        Some("lo" | "localhost") => "127.0.0.1",
        Some(at) if at.contains('$') => "127.0.0.1",
        Some(_) => "198.18.0.1",
    };
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "bash", "-c", SCRIPT, "start"]);
    command.arg(&files).arg(program).args([&scheme, &port.to_string(), at]);
    command.args([named.addresses.join(" "), named.interfaces.join(" ")]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.trim_end().ends_with("started") { Ok(()) } else { Err(text) }
}

/// Starts a server for each Corefile of a directory, and returns those that do not start.
fn start_all(directory: &Path, program: &Path) -> (usize, Vec<String>) {
    require_root();
    require_programs(&["unshare", "ip", "ss", "tar", "dig", "bash"]);
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "corefile"));
    files.sort();
    let (count, authority) = (files.len(), Authority::new());
    let (left, faults) = (Mutex::new(files), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(path) = { left.lock().unwrap().pop() } {
                    let corefile = fs::read_to_string(&path).unwrap_or_else(|_| {
                        String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
                    });
                    if let Err(text) = start(program, &corefile, &authority) {
                        let name = path.file_name().unwrap().display();
                        faults.lock().unwrap().push(format!("{name}: {text}"));
                    }
                }
            });
        }
    });
    (count, faults.into_inner().unwrap())
}

#[test]
fn forms_of_the_field_start() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field");
    let (count, faults) = start_all(&directory, &program());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count >= 10, "only {count} Corefiles");
}

#[test]
#[ignore = "needs NDOTS_FIELD, a directory of Corefiles"]
fn every_corefile_of_a_directory_starts() {
    let directory = env::var("NDOTS_FIELD").expect("NDOTS_FIELD names a directory");
    let program = env::var_os("NDOTS_FIELD_PROGRAM").map_or_else(program, PathBuf::from);
    let (count, mut faults) = start_all(Path::new(&directory), &program);
    faults.sort();
    println!("{} of {count} started\n{}", count - faults.len(), faults.join("\n"));
    assert!(faults.is_empty(), "{} of {count} do not start", faults.len());
}
