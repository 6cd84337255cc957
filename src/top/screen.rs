//! The view of a summary: ratatui's widgets for a terminal, and the same as text.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Paragraph, Row, Table, Widget},
};

use super::summary::{Frequent, KindState, Summary, Upstream};
use crate::printable::printable;

/// The width of the words at the beginning of the first lines.
const MARGIN: usize = 10;

/// How many names, clients and namespaces [`text`] prints at most.
const LISTED: usize = 10;

/// Draws a summary. What does not fit is left out.
pub fn draw(summary: &Summary, area: Rect, buffer: &mut Buffer) {
    if summary.servers.is_empty() && summary.unread.is_empty() {
        return Paragraph::new("Reading the servers …").render(area, buffer);
    }
    let overview = overview(summary, usize::from(area.width).saturating_sub(MARGIN));
    // With the header and an empty line.
    let upstreams = match summary.upstreams.len() {
        0 => 0,
        count => count.min(8) + 2,
    };
    let [head, upstream_area, frequent_area] = Layout::vertical([
        Constraint::Length(height(overview.len() + 1)),
        Constraint::Length(height(upstreams)),
        Constraint::Fill(1),
    ])
    .areas(area);
    Paragraph::new(overview).render(head, buffer);
    if !summary.upstreams.is_empty() {
        upstream_table(&summary.upstreams).render(upstream_area, buffer);
    }
    frequent_tables(summary.frequent.as_ref(), frequent_area, buffer);
}

/// A summary as plain text of this width.
pub fn text(summary: &Summary, width: u16) -> String {
    let rows = |list: &[(String, f64)]| list.len().min(LISTED) + 1;
    let longest = summary.frequent.as_ref().map_or(1, |frequent| {
        let right = rows(&frequent.clients).max(rows(&frequent.namespaces));
        rows(&frequent.names).max(2 * right)
    });
    let lines = overview(summary, usize::from(width).saturating_sub(MARGIN)).len()
        + summary.upstreams.len().min(8)
        + longest;
    let area = Rect::new(0, 0, width, height(lines + 4));
    let mut buffer = Buffer::empty(area);
    draw(summary, area, &mut buffer);
    let mut text = String::new();
    for row in buffer.content.chunks(usize::from(width)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}

fn height(lines: usize) -> u16 {
    u16::try_from(lines).unwrap_or(u16::MAX)
}

/// A line that begins with a word in bold.
fn line(word: &'static str, rest: Vec<Span<'static>>) -> Line<'static> {
    let word = Span::raw(format!("{word:<MARGIN$}")).add_modifier(Modifier::BOLD);
    Line::from([vec![word], rest].concat())
}

fn overview(summary: &Summary, room: usize) -> Vec<Line<'static>> {
    let count = summary.servers.len();
    let mut lines = vec![line(
        "servers",
        vec![match count {
            1 => Span::raw(printable(&summary.servers[0]).into_owned()),
            _ => Span::raw(format!("{count}")),
        }],
    )];
    for (server, why) in &summary.unread {
        let text = printable(&format!("{server} cannot be read: {why}")).into_owned();
        lines.push(line("", vec![text.red()]));
    }
    let times = summary.times.map_or_else(String::new, |[half, most]| {
        format!(", half within {}, 99 % within {}", seconds(half), seconds(most))
    });
    lines
        .push(line("replies", vec![format!("{} a second{times}", number(summary.replies)).into()]));
    lines.push(line(
        "",
        shares(&summary.codes, room, |code| {
            let bad = ["SERVFAIL", "REFUSED", "FORMERR"].contains(&code);
            if bad { Style::new().red() } else { Style::new() }
        }),
    ));
    let asked = [summary.types.as_slice(), summary.transports.as_slice()];
    lines.push(line("queries", asked.map(|it| shares(it, room / 2, |_| Style::new())).concat()));
    if let Some(cache) = &summary.cache {
        let hits = cache.hits.map_or_else(
            || "nothing was looked up".to_owned(),
            |hits| format!("{} found", percent(hits)),
        );
        let stale = if cache.stale > 0. {
            format!(", {} expired a second", number(cache.stale))
        } else {
            String::new()
        };
        lines.push(line(
            "cache",
            vec![format!("{hits}{stale}, {} entries", number(cache.entries)).into()],
        ));
    }
    if !summary.kinds.is_empty() {
        lines.push(line("cluster", kinds(summary)));
    }
    let process = &summary.process;
    let memory = process.memory / 1024. / 1024.;
    lines.push(line(
        "process",
        vec![format!("{memory:.0} MiB of memory, {:.2} cores", process.cores).into()],
    ));
    for (word, rate) in &process.faults {
        lines.push(line("", vec![format!("{} {word} a second", number(*rate)).red()]));
    }
    lines
}

fn kinds(summary: &Summary) -> Vec<Span<'static>> {
    let of = |state| {
        let kinds = summary.kinds.iter().filter(move |kind| kind.state == state);
        kinds.map(|kind| printable(&kind.plural).into_owned()).collect::<Vec<_>>().join(", ")
    };
    let (unread, refused) = (of(KindState::NotYet), of(KindState::Refused));
    let mut spans = Vec::new();
    if unread.is_empty() && refused.is_empty() {
        spans.push(Span::raw(format!("all {} kinds of objects are read", summary.kinds.len())));
    }
    if !unread.is_empty() {
        spans.push(format!("not read yet: {unread}  ").red());
    }
    if !refused.is_empty() {
        spans.push(format!("not permitted: {refused}").red());
    }
    spans
}

/// `NOERROR 61 %  NXDOMAIN 39 %`, as many as fit into the room.
fn shares(
    shares: &[(String, f64)],
    mut room: usize,
    style: impl Fn(&str) -> Style,
) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    for (of, share) in shares {
        let text = format!("{} {}  ", printable(of), percent(*share));
        let Some(left) = room.checked_sub(text.len()) else { break };
        room = left;
        spans.push(Span::styled(text, style(of)));
    }
    spans
}

fn upstream_table(upstreams: &[Upstream]) -> Table<'static> {
    let row = |upstream: &Upstream| {
        let [half, most] =
            upstream.times.map_or([const { String::new() }; 2], |it| it.map(seconds));
        let state = match upstream {
            Upstream { is_down: true, .. } => "down".to_owned(),
            Upstream { failed_checks, .. } if *failed_checks > 0. => {
                "health checks fail".to_owned()
            }
            _ => String::new(),
        };
        let is_bad = !state.is_empty() || upstream.failed > 0.05;
        let failed = if upstream.failed > 0. { percent(upstream.failed) } else { String::new() };
        let address = printable(&upstream.address).into_owned();
        let row = Row::new([address, number(upstream.replies), half, most, failed, state]);
        if is_bad { row.red() } else { row }
    };
    let head = ["upstream", "replies/s", "half within", "99 % within", "failed", ""];
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(10),
        Constraint::Length(11),
        Constraint::Length(11),
        Constraint::Length(6),
        Constraint::Length(18),
    ];
    Table::new(upstreams.iter().map(row), widths).header(Row::new(head).bold())
}

fn frequent_tables(frequent: Option<&Frequent>, area: Rect, buffer: &mut Buffer) {
    let Some(frequent) = frequent else {
        let hint =
            "Names and clients are counted with the option `top` of the plugin `prometheus`.";
        return Paragraph::new(hint).render(area, buffer);
    };
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(30)]).spacing(2).areas(area);
    let [above, below] = Layout::vertical([Constraint::Fill(1); 2]).areas(right);
    let lists = [
        ("name", &frequent.names, left),
        ("client", &frequent.clients, above),
        ("namespace", &frequent.namespaces, below),
    ];
    for (word, list, area) in lists {
        let row =
            |(of, rate): &(String, f64)| Row::new([printable(of).into_owned(), number(*rate)]);
        Table::new(list.iter().map(row), [Constraint::Fill(1), Constraint::Length(9)])
            .header(Row::new([word, "replies/s"]).bold())
            .render(area, buffer);
    }
}

/// One decimal place for values below 10, and commas between thousands.
fn number(value: f64) -> String {
    if value.abs() < 0.05 {
        return "0".to_owned();
    }
    if value < 10. {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn percent(share: f64) -> String {
    let percent = share * 100.;
    if percent > 0. && percent < 1. { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// A bound of a histogram.
fn seconds(value: f64) -> String {
    match value {
        _ if value.is_infinite() => "longer".to_owned(),
        _ if value < 1. => format!("{} ms", (value * 1e5).round() / 100.),
        _ => format!("{value:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::top::{Page, Sample};

    const BEFORE: &str = r#"
coredns_dns_responses_total{server="dns://:53",rcode="NOERROR"} 100
coredns_dns_request_duration_seconds_bucket{le="0.00025"} 100
coredns_dns_request_duration_seconds_bucket{le="+Inf"} 100
coredns_panics_total 0
process_cpu_seconds_total 4
"#;

    const NOW: &str = r#"
coredns_dns_responses_total{server="dns://:53",rcode="NOERROR"} 1500
coredns_dns_responses_total{server="dns://:53",rcode="NXDOMAIN"} 590
coredns_dns_responses_total{server="dns://:53",rcode="SERVFAIL"} 10
coredns_dns_requests_total{type="A",proto="udp"} 1900
coredns_dns_requests_total{type="AAAA",proto="tcp"} 100
coredns_dns_request_duration_seconds_bucket{le="0.00025"} 1900
coredns_dns_request_duration_seconds_bucket{le="+Inf"} 2100
coredns_cache_entries{type="success"} 1200
coredns_cache_hits_total{type="success"} 30
coredns_cache_misses_total 10
coredns_forward_upstream_down{to="192.0.2.9:53"} 1
coredns_proxy_request_duration_seconds_count{to="192.0.2.8:53",rcode="NOERROR"} 9
coredns_proxy_request_duration_seconds_count{to="192.0.2.8:53",rcode="SERVFAIL"} 1
coredns_proxy_request_duration_seconds_bucket{to="192.0.2.8:53",rcode="NOERROR",le="0.004"} 9
coredns_proxy_request_duration_seconds_bucket{to="192.0.2.8:53",rcode="NOERROR",le="+Inf"} 9
coredns_kubernetes_synced{resource="services"} 1
coredns_kubernetes_synced{resource="pods"} 0
coredns_panics_total 2
process_cpu_seconds_total 5
process_resident_memory_bytes 36700160
"#;

    fn sample(metrics: &str, top: &str) -> Sample {
        let page = Page::read(metrics).with_top(top);
        let gone = Err("it does not answer".to_owned());
        let servers = [("10.0.0.2:9153".to_owned(), Ok(page)), ("10.0.0.3:9153".to_owned(), gone)];
        Sample { servers: servers.into_iter().collect() }
    }

    #[test]
    fn everything_fits_into_eighty_columns() {
        let before = sample(BEFORE, "client 10.244.0.7 10\nname web.shop.svc.cluster.local. 0\n");
        let now = sample(NOW, "client 10.244.0.7 30\nname web.shop.svc.cluster.local. 9\n");
        let summary = Summary::between(&before, &now, Duration::from_secs(2));
        let text = text(&summary, 80);
        let expected = "\
servers   10.0.0.2:9153
          10.0.0.3:9153 cannot be read: it does not answer
replies   1,000 a second, half within 0.25 ms, 99 % within longer
          NOERROR 70 %  NXDOMAIN 30 %  SERVFAIL 0.5 %
queries   A 95 %  AAAA 5 %  udp 95 %  tcp 5 %
cache     75 % found, 1,200 entries
cluster   not read yet: pods
process   35 MiB of memory, 0.50 cores
          1.0 panics a second

upstream            replies/s  half within 99 % within failed
192.0.2.8:53        5.0        4 ms        4 ms        10 %
192.0.2.9:53        0                                         down

name                                   replies/s  client               replies/s
web.shop.svc.cluster.local.            4.5        10.244.0.7           10

                                                  namespace            replies/s
";
        assert_eq!(text, expected);
    }
}
