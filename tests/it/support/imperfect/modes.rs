//! The faults. Those with [`NO_THREAD`] were found with ndots. The others were reported in the
//! threads that are named beside them.

use std::time::Duration;

use super::{
    Conversation::{CloseAfterReply, CloseAtOnce, InPieces, MuteAfterReply, Open},
    Mode, Sockets, Step,
    draft::{
        A, AA, AAAA, Asked, Draft, FORMERR, NOTIMP, NXDOMAIN, RA, REFUSED, SERVFAIL, TC, Z,
        address, opt, owned,
    },
};

const BOTH: Sockets = Sockets::UdpAndTcp(Open);
/// In place of a public thread.
const NO_THREAD: &str = "";

pub(crate) const MODES: &[Mode] = &[
    mode("plain", NO_THREAD, BOTH, |asked| send(&asked.answer())),
    mode("case-nxdomain", NO_THREAD, BOTH, |asked| case_sensitive(asked, NXDOMAIN)),
    mode("case-nodata", NO_THREAD, BOTH, |asked| case_sensitive(asked, 0)),
    mode("case-lost", NO_THREAD, Sockets::Udp, lower_case),
    mode("case-lost-tcp-silent", NO_THREAD, BOTH, |asked| over_udp(asked, lower_case)),
    mode("truncated-tcp-refused", NO_THREAD, Sockets::Udp, truncated),
    mode("truncated-tcp-silent", NO_THREAD, BOTH, |asked| over_udp(asked, truncated)),
    mode("edns-formerr", NO_THREAD, BOTH, |asked| without_edns(asked, send(&asked.code(FORMERR)))),
    mode("edns-dropped", NO_THREAD, BOTH, |asked| without_edns(asked, Vec::new())),
    mode("refused-without-question", NO_THREAD, BOTH, |asked| {
        send(&if asked.qtype == A && !asked.name.is_empty() {
            asked.code(REFUSED).without_question()
        } else {
            asked.answer()
        })
    }),
    mode("slow-1500-ms", NO_THREAD, BOTH, |asked| slow(asked, 1500)),
    mode("slow-3000-ms", NO_THREAD, BOTH, |asked| slow(asked, 3000)),
    mode("alias-in-the-same-domain", NO_THREAD, BOTH, alias),
    // An upstream behind UDP NAT that does not translate the way back.
    mode("other-port-over-udp", "https://github.com/moby/moby/issues/11998", BOTH, |asked| {
        let reply = asked.answer().packet();
        vec![if asked.tcp { Step::Reply(reply) } else { Step::FromElsewhere(reply) }]
    }),
    mode("udp-silent-tcp-works", "https://github.com/coredns/coredns/issues/4211", BOTH, |asked| {
        if asked.tcp { send(&asked.answer()) } else { Vec::new() }
    }),
    mode(
        "udp-refused-tcp-works",
        "https://github.com/coredns/coredns/issues/2287",
        Sockets::Tcp,
        |asked| send(&asked.answer()),
    ),
    mode("port-closed", "https://github.com/coredns/coredns/issues/7353", Sockets::None, |_| {
        Vec::new()
    }),
    mode("every-reply-twice", "https://github.com/coredns/coredns/issues/1899", BOTH, |asked| {
        let reply = || Step::Reply(asked.answer().packet());
        if asked.tcp { vec![reply()] } else { vec![reply(), reply()] }
    }),
    mode("stray-reply-first", "https://github.com/coredns/coredns/issues/2636", BOTH, |asked| {
        let stray = Step::Reply(asked.answer().another_id().packet());
        let reply = Step::Reply(asked.answer().packet());
        if asked.tcp { vec![reply] } else { vec![stray, reply] }
    }),
    mode(
        "tcp-closed-after-a-reply",
        "https://github.com/coredns/coredns/issues/2230",
        Sockets::UdpAndTcp(CloseAfterReply),
        truncated_over_udp,
    ),
    mode(
        "tcp-mute-after-a-reply",
        "https://github.com/NLnetLabs/unbound/pull/470",
        Sockets::UdpAndTcp(MuteAfterReply),
        truncated_over_udp,
    ),
    mode(
        "tcp-in-pieces",
        "https://github.com/elastic/beats/pull/486",
        Sockets::UdpAndTcp(InPieces),
        truncated_over_udp,
    ),
    mode(
        "truncated-tcp-closed",
        "https://github.com/kubernetes/minikube/issues/2617",
        Sockets::UdpAndTcp(CloseAtOnce),
        truncated,
    ),
    mode(
        "truncated-and-empty",
        "https://github.com/cloudflare/cloudflared/issues/540",
        BOTH,
        truncated_over_udp,
    ),
    mode("aaaa-nxdomain", "https://github.com/docker/for-mac/issues/5088", BOTH, |asked| {
        for_type(asked, AAAA, &asked.code(NXDOMAIN))
    }),
    mode(
        "aaaa-servfail",
        "https://github.com/mampfes/hacs_waste_collection_schedule/issues/7296",
        BOTH,
        |asked| for_type(asked, AAAA, &asked.code(SERVFAIL)),
    ),
    mode(
        "aaaa-answered-with-a",
        "https://github.com/phensley/docker-dns/issues/13",
        BOTH,
        |asked| for_type(asked, AAAA, &asked.code(0).answer(&address(9))),
    ),
    mode("aaaa-dropped", "https://github.com/d2iq-archive/mesos-dns/issues/102", BOTH, |asked| {
        if asked.qtype == AAAA { Vec::new() } else { send(&asked.answer()) }
    }),
    mode("other-types-notimp", "https://github.com/grocy/grocy-docker/issues/179", BOTH, |asked| {
        send(&if asked.qtype == A { asked.answer() } else { asked.code(NOTIMP) })
    }),
    mode("other-types-refused", "https://github.com/NLnetLabs/unbound/pull/377", BOTH, |asked| {
        send(&if matches!(asked.qtype, A | AAAA) { asked.answer() } else { asked.code(REFUSED) })
    }),
    mode("first-query-dropped", "https://github.com/coredns/coredns/pull/1624", BOTH, |asked| {
        if asked.before % 2 == 0 && !asked.tcp { Vec::new() } else { send(&asked.answer()) }
    }),
    mode("first-query-servfail", "https://github.com/coredns/coredns/issues/3927", BOTH, |asked| {
        send(&if asked.before == 0 { asked.code(SERVFAIL) } else { asked.answer() })
    }),
    // A limit of queries in each second, as the resolver of a cloud has for each network card.
    mode("rate-limited", "https://github.com/kubernetes/dns/issues/387", BOTH, |asked| {
        let burst = asked.before > 0 && asked.age < Duration::from_millis(300);
        if burst { Vec::new() } else { send(&asked.answer()) }
    }),
    mode("edns-notimp", "https://github.com/nil0x42/dnsanity/issues/3", BOTH, |asked| {
        without_edns(asked, send(&asked.code(NOTIMP)))
    }),
    mode(
        "edns-badvers",
        "https://github.com/dns-violations/dns-violations/pull/54",
        BOTH,
        |asked| without_edns(asked, send(&asked.code(0).additional(&opt(1, 0)))),
    ),
    mode("edns-formerr-with-opt", "https://github.com/c-ares/c-ares/issues/911", BOTH, |asked| {
        without_edns(asked, send(&asked.code(FORMERR).additional(&opt(0, 0))))
    }),
    mode(
        "edns-formerr-header-only",
        "https://github.com/dns-violations/dns-violations/issues/58",
        BOTH,
        |asked| without_edns(asked, send(&asked.code(FORMERR).without_question())),
    ),
    mode("edns-servfail", "https://github.com/systemd/systemd/issues/9785", BOTH, |asked| {
        without_edns(asked, send(&asked.code(SERVFAIL)))
    }),
    mode(
        "edns-opt-in-answer-section",
        "https://github.com/socktainer/socktainer/issues/329",
        BOTH,
        |asked| without_edns(asked, send(&asked.code(0).answer(&opt(0, 0)))),
    ),
    mode("opt-of-another-version", "https://github.com/PowerDNS/pdns/pull/2691", BOTH, |asked| {
        send(&asked.answer().additional(&opt(0, 1)))
    }),
    mode("opt-unasked", "https://github.com/coredns/coredns/issues/5366", BOTH, |asked| {
        send(&asked.answer().additional(&opt(0, 0)))
    }),
    mode(
        "authoritative-without-recursion",
        "https://github.com/coredns/coredns/issues/4435",
        BOTH,
        |asked| send(&asked.answer().flags(Draft::FLAGS & !RA | AA)),
    ),
    mode("reserved-flag-set", "https://github.com/dnsimple/erldns/issues/53", BOTH, |asked| {
        send(&asked.answer().flags(Draft::FLAGS | Z))
    }),
    mode("udp-of-900-octets", "https://github.com/coredns/coredns/issues/5998", BOTH, |asked| {
        large(asked, 50)
    }),
    mode("udp-of-1700-octets", "https://github.com/coredns/coredns/issues/5953", BOTH, |asked| {
        large(asked, 100)
    }),
    mode("names-uncompressed", "https://github.com/coredns/coredns/issues/3941", BOTH, |asked| {
        let question = asked.question();
        let owner = &question[..question.len() - 4];
        send(&if asked.qtype == A {
            asked.code(0).answer(&owned(owner, A, &[203, 0, 113, 9]))
        } else {
            asked.answer()
        })
    }),
    mode(
        "octets-after-the-message",
        "https://github.com/rthalley/dnspython/issues/324",
        BOTH,
        |asked| vec![Step::Reply([asked.answer().packet(), vec![0, 255, 66, 0]].concat())],
    ),
    mode("counts-too-large", "https://github.com/systemd/systemd/issues/12841", BOTH, |asked| {
        let mut reply = asked.answer();
        reply.counts[2] += 1;
        send(&reply)
    }),
    mode("additional-records", "https://github.com/coredns/coredns/issues/2242", BOTH, |asked| {
        let glue = owned(&[2, b'n', b's', 0], A, &[203, 0, 113, 53]);
        send(&asked.answer().additional(&glue).additional(&address(7)))
    }),
    mode(
        "answer-without-question",
        "https://github.com/PowerDNS/pdns/issues/12250",
        BOTH,
        |asked| {
            let question = asked.question();
            let owner = &question[..question.len() - 4];
            send(&asked.code(0).without_question().answer(&owned(owner, A, &[203, 0, 113, 9])))
        },
    ),
    mode(
        "question-of-another-type",
        "https://github.com/systemd/systemd/issues/35232",
        BOTH,
        |asked| {
            let mut reply = asked.answer();
            let at = reply.question.len() - 3;
            reply.question[at] ^= 29;
            send(&reply)
        },
    ),
];

/// More faults of answers, and of the way they are written.
pub(crate) const MORE: &[Mode] = &[
    mode(
        "alias-without-address",
        "https://github.com/coredns/coredns/issues/6958",
        BOTH,
        |asked| with_alias(asked, |reply, alias, _| reply.answer(alias)),
    ),
    mode(
        "address-before-alias",
        "https://github.com/skynetservices/skydns/issues/217",
        BOTH,
        |asked| with_alias(asked, |reply, alias, address| reply.answer(address).answer(alias)),
    ),
    mode("alias-with-servfail", "https://github.com/PowerDNS/pdns/issues/335", BOTH, |asked| {
        with_alias(asked, |reply, alias, _| reply.answer(alias).flags(Draft::FLAGS | SERVFAIL))
    }),
    mode(
        "nxdomain-behind-an-alias",
        "https://github.com/coredns/coredns/issues/6385",
        BOTH,
        |asked| {
            with_alias(asked, |reply, alias, _| {
                reply.answer(alias).authority(&name_server()).flags(Draft::FLAGS | NXDOMAIN)
            })
        },
    ),
    mode(
        "name-servers-in-the-answer",
        "https://github.com/PowerDNS/pdns/issues/7866",
        BOTH,
        |asked| {
            with_alias(asked, |reply, alias, address| {
                reply.answer(alias).answer(address).answer(&name_server())
            })
        },
    ),
    mode(
        "alias-with-odd-octets",
        "https://github.com/TechnitiumSoftware/DnsServer/issues/745",
        BOTH,
        |asked| {
            if asked.qtype != A || asked.name.is_empty() {
                return send(&asked.answer());
            }
            let target = b"\x05a b_*\x02\xff\x00\x04test\x00";
            let reply = asked.code(0).answer(&owned(&[0xc0, 12], 5, target));
            send(&reply.answer(&owned(target, A, &[203, 0, 113, 9])))
        },
    ),
    mode(
        "nodata-without-soa",
        "https://github.com/hickory-dns/hickory-dns/issues/2814",
        BOTH,
        |asked| send(&asked.code(0)),
    ),
    mode("nodata-with-referral", "https://github.com/dnsviz/dnsviz/issues/11", BOTH, |asked| {
        send(&asked.code(0).authority(&name_server()))
    }),
    mode("half-a-header-first", "https://github.com/coredns/forward/issues/22", BOTH, |asked| {
        let reply = asked.answer().packet();
        let half = Step::Reply(reply[..5].to_vec());
        if asked.tcp { vec![Step::Reply(reply)] } else { vec![half, Step::Reply(reply)] }
    }),
    mode("udp-of-4100-octets", "https://github.com/coredns/coredns/issues/4343", BOTH, |asked| {
        large(asked, 255)
    }),
    mode("two-opt-records", "https://github.com/c-ares/c-ares/issues/1137", BOTH, |asked| {
        send(&asked.answer().additional(&opt(0, 0)).additional(&opt(0, 0)))
    }),
    mode(
        "opt-counted-as-the-answer",
        "https://github.com/jczic/MicroDNSSrv/issues/3",
        BOTH,
        |asked| {
            let mut reply = asked.code(0).answer(&opt(0, 0)).answer(&address(9));
            reply.counts[0] = 1;
            without_edns(asked, send(&reply))
        },
    ),
    mode("truncated-over-tcp", "https://github.com/miekg/dns/pull/708", BOTH, truncated),
    mode(
        "refused-and-tcp-silent",
        "https://github.com/tailscale/tailscale/issues/20826",
        BOTH,
        |asked| if asked.tcp { Vec::new() } else { send(&asked.code(REFUSED)) },
    ),
    mode("tcp-slow-1500-ms", NO_THREAD, BOTH, |asked| {
        if asked.tcp { slow(asked, 1500) } else { truncated_over_udp(asked) }
    }),
];

/// The name server of the root zone.
fn name_server() -> Vec<u8> {
    owned(&[0], 2, &[2, b'n', b's', 0])
}

/// A reply that is made of an alias to `lb.test` and its address.
fn with_alias(asked: &Asked, write: fn(Draft, &[u8], &[u8]) -> Draft) -> Vec<Step> {
    if asked.qtype != A || asked.name.is_empty() {
        return send(&asked.answer());
    }
    let target = b"\x02lb\x04test\x00";
    let alias = owned(&[0xc0, 12], 5, target);
    send(&write(asked.code(0), &alias, &owned(target, A, &[203, 0, 113, 9])))
}

const fn mode(
    name: &'static str,
    seen: &'static str,
    sockets: Sockets,
    reply: fn(&Asked) -> Vec<Step>,
) -> Mode {
    Mode { name, seen, sockets, reply }
}

fn send(draft: &Draft) -> Vec<Step> {
    vec![Step::Reply(draft.packet())]
}

/// Knows names in lower case only.
fn case_sensitive(asked: &Asked, rcode: u16) -> Vec<Step> {
    let is_lower = asked.name == asked.name.to_ascii_lowercase();
    send(&if is_lower || asked.qtype != A { asked.answer() } else { asked.code(rcode) })
}

fn lower_case(asked: &Asked) -> Vec<Step> {
    let mut reply = asked.answer();
    let name = reply.question.len() - 4;
    reply.question[..name].make_ascii_lowercase();
    send(&reply)
}

/// Replies over UDP, and is silent over TCP.
fn over_udp(asked: &Asked, reply: fn(&Asked) -> Vec<Step>) -> Vec<Step> {
    if asked.tcp { Vec::new() } else { reply(asked) }
}

/// Twenty addresses and the TC flag.
fn truncated(asked: &Asked) -> Vec<Step> {
    if asked.qtype != A || asked.name.is_empty() {
        return send(&asked.answer());
    }
    let draft = asked.code(0).flags(Draft::FLAGS | TC);
    send(&(1..=20).fold(draft, |draft, last| draft.answer(&address(last))))
}

/// No record and the TC flag over UDP, and an address over TCP.
fn truncated_over_udp(asked: &Asked) -> Vec<Step> {
    let truncated = !asked.tcp && asked.qtype == A && !asked.name.is_empty();
    send(&if truncated { asked.code(0).flags(Draft::FLAGS | TC) } else { asked.answer() })
}

/// Takes the steps `to_edns` for a query with EDNS, and answers every other query.
fn without_edns(asked: &Asked, to_edns: Vec<Step>) -> Vec<Step> {
    if asked.edns && asked.qtype == A && !asked.name.is_empty() {
        to_edns
    } else {
        send(&asked.answer())
    }
}

fn for_type(asked: &Asked, qtype: u16, reply: &Draft) -> Vec<Step> {
    if asked.qtype == qtype { send(reply) } else { send(&asked.answer()) }
}

/// Answers this long after it first saw the name.
fn slow(asked: &Asked, milliseconds: u64) -> Vec<Step> {
    let wait = if asked.qtype == A && !asked.name.is_empty() {
        Duration::from_millis(milliseconds).saturating_sub(asked.age)
    } else {
        Duration::ZERO
    };
    vec![Step::Wait(wait), Step::Reply(asked.answer().packet())]
}

/// An alias to `lb` in the domain of the question, compressed against the question as BIND, Knot DNS
/// and NSD do.
fn alias(asked: &Asked) -> Vec<Step> {
    if asked.qtype != A || asked.name.is_empty() {
        return send(&asked.answer());
    }
    let target = [&b"\x02lb"[..], &(0xc000 | asked.parent()).to_be_bytes()].concat();
    let data_at = 12 + asked.question().len() as u16 + 12;
    let owner = (0xc000 | data_at).to_be_bytes();
    let reply = asked.code(0).answer(&owned(&[0xc0, 12], 5, &target));
    send(&reply.answer(&owned(&owner, A, &[203, 0, 113, 9])))
}

/// A reply with this many addresses of 16 octets each, also over UDP, whatever size the query
/// permits.
fn large(asked: &Asked, addresses: u8) -> Vec<Step> {
    if asked.qtype != A || asked.name.is_empty() {
        return send(&asked.answer());
    }
    send(&(1..=addresses).fold(asked.code(0), |draft, last| draft.answer(&address(last))))
}
