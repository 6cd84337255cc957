//! `dnstap [listen] SOCKET [full] [BUFFER] [QUEUE] { … }`: copies of messages for a receiver.

use std::sync::Arc;

use crate::{
    chain::{AtSending, Cx, Exchanged, Plugin, Tap, TapEvent, Transport},
    corefile::{Arguments, Token},
    dnstap::{MessageType, Sender, SocketProtocol, TapMessage, TapQueue},
    limits,
    upstream::{Proto, SentQuery},
    wire::{Query, Room},
};

use super::{
    BuildError, Directive, DirectiveLines, DnstapSink, Endpoint, ListenerTls, Need, OptionSpec,
    OptionTable, PluginContext, PluginSettings, Role, Side, TlsFile, forward::UPSTREAM,
    log::formatted,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "dnstap",
    about: "Sends copies of queries and responses in the form of dnstap to a receiver: those of clients, and those of `forward`. With `full`, they contain the DNS messages themselves. BUFFER has no effect. 10,000 messages may wait in the queue; QUEUE multiplies this number. No query waits for the receiver. A message without room in the queue is dropped, and counted in `coredns_dnstap_dropped_messages_total`.",
    arguments: "[listen] SOCKET [full] [BUFFER] [QUEUE]",
    options: &OPTIONS,
    roles: &[Role::Observes, Role::ReadsFiles],
    example: ".:53 {\n    metadata\n    dnstap tcp://192.0.2.9:6000 full {\n        identity dns-1\n        extra \"{/forward/upstream}\"\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<DnstapLine> = OptionTable(&[
    OptionSpec::new(
        "identity",
        "NAME",
        "The name of this server in messages; the default is the name of the machine.",
        |line, option| line.identity = option.required("a name").map(|it| it.text.clone()),
    ),
    OptionSpec::new(
        "version",
        "VERSION",
        "The version in messages; the default is that of ndots.",
        |line, option| line.version = option.required("a version").map(|it| it.text.clone()),
    ),
    OptionSpec::new(
        "extra",
        "FORMAT",
        "A text for each message, with the labels of `log`, and metadata as `{/LABEL}`.",
        |line, option| line.extra = option.required("a text").map(|it| it.text.clone()),
    ),
    OptionSpec::new("skipverify", "", "Accepts any certificate of the receiver.", |line, _| {
        line.skip_verify = true;
    }),
    OptionSpec::new(
        "tls",
        "CERT KEY [CA]",
        "The certificate of a listener. With CA, receivers need a certificate of that authority.",
        read_tls,
    ),
]);

/// All lines of a block.
#[derive(Debug)]
struct DnstapLines(Vec<DnstapLine>);

#[derive(Clone, Debug)]
struct DnstapLine {
    endpoint: Endpoint,
    listens: bool,
    /// Whether messages contain the DNS message itself.
    full: bool,
    /// The size of the queue in units of [`limits::DNSTAP_MESSAGES`].
    queue: usize,
    identity: Option<String>,
    version: Option<String>,
    extra: Option<String>,
    skip_verify: bool,
    /// The certificate, its key, and the authority of clients.
    tls: Option<(TlsFile, TlsFile, Option<TlsFile>)>,
}

struct Dnstap {
    queue: Arc<TapQueue>,
    full: bool,
    extra: Option<String>,
}

impl PluginSettings for DnstapLines {
    fn needs(&self) -> Vec<Need> {
        let files = self.0.iter().filter_map(|line| line.tls.as_ref());
        let files = files.flat_map(|(certificate, key, authority)| {
            [Some(certificate), Some(key), authority.as_ref()]
        });
        let files: Vec<_> = files.flatten().map(|file| Need::File(file.path.clone())).collect();
        // Receivers reject an expired certificate.
        let watch = (!files.is_empty()).then_some(Need::WatchFiles);
        files.into_iter().chain(watch).collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let mut plugins: Vec<Arc<dyn Plugin>> = Vec::new();
        for line in &self.0 {
            let sink = line.sink(context)?;
            let queue = context.dnstap(sink, line.queue * limits::DNSTAP_MESSAGES);
            plugins.push(Arc::new(Dnstap { queue, full: line.full, extra: line.extra.clone() }));
        }
        Ok(plugins)
    }
}

impl DnstapLine {
    fn sink(&self, context: &PluginContext<'_>) -> Result<DnstapSink, BuildError> {
        let text = |file: &TlsFile| {
            let text = context.file(&file.path);
            text.map(str::to_owned)
                .map_err(|reason| BuildError(format!("cannot use {}: {reason}", file.path)))
        };
        let side = if self.listens {
            let tls = self.tls.as_ref().map(|(certificate, key, authority)| {
                let authority = authority.as_ref().map(text).transpose()?;
                Ok::<_, BuildError>(ListenerTls {
                    certificates: text(certificate)?,
                    key: text(key)?,
                    authority,
                    skip_verify: self.skip_verify,
                })
            });
            Side::Listens(tls.transpose()?.map(Arc::new))
        } else {
            Side::Connects { skip_verify: self.skip_verify }
        };
        let version = || concat!("ndots-", env!("CARGO_PKG_VERSION")).to_owned();
        let sender = Sender {
            identity: self.identity.clone().unwrap_or_else(|| context.build.host_name.to_owned()),
            version: self.version.clone().unwrap_or_else(version),
        };
        Ok(DnstapSink { endpoint: self.endpoint.clone(), side, sender })
    }
}

impl Plugin for Dnstap {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn tap(&self) -> Option<&dyn Tap> {
        Some(self)
    }
}

impl Tap for Dnstap {
    fn tap(&self, cx: &mut Cx, query: &Query, event: TapEvent<'_>) {
        match event {
            TapEvent::Received(packet) => {
                self.queue.push(self.of_client(cx, query, MessageType::ClientQuery, packet));
            }
            // The time is added when the response is sent.
            TapEvent::Sent(packet) => {
                let message = self.of_client(cx, query, MessageType::ClientResponse, packet);
                let queue = Arc::clone(&self.queue);
                cx.at_sending.push(AtSending::new(move |at| {
                    queue.push(TapMessage { answered: Some(at), ..message });
                }));
            }
            TapEvent::Exchanged(exchanged) => self.forwarded(cx, query, exchanged),
        }
    }
}

impl Dnstap {
    fn extra(&self, cx: &Cx, query: &Query) -> Option<String> {
        self.extra.as_ref().map(|format| formatted(format, cx, query, None).0)
    }

    fn of_client(
        &self,
        cx: &Cx,
        query: &Query,
        message_type: MessageType,
        packet: &[u8],
    ) -> TapMessage {
        TapMessage {
            message_type,
            protocol: match cx.transport {
                Transport::Udp => SocketProtocol::Udp,
                Transport::Tcp | Transport::Grpc => SocketProtocol::Tcp,
                Transport::Tls => SocketProtocol::Tls,
                Transport::Https | Transport::Https3 => SocketProtocol::Https,
                Transport::Quic => SocketProtocol::Quic,
            },
            asks: Some(cx.peer),
            answers: Some(cx.local),
            asked: cx.started,
            answered: None,
            octets: self.full.then(|| packet.into()),
            extra: self.extra(cx, query),
        }
    }

    /// The queries of `forward`, each with its response. As in CoreDNS, those of `grpc` are left
    /// out.
    fn forwarded(&self, cx: &mut Cx, query: &Query, exchanged: &Exchanged) {
        for (at, sent) in exchanged.sent.iter().enumerate() {
            let Some(protocol) = protocol(sent.proto) else { continue };
            let answer = exchanged.reply.as_ref().ok();
            let answer = answer.filter(|_| self.full && exchanged.answered == Some(at));
            let encoded = |encode: &dyn Fn(&mut Vec<u8>)| {
                let mut packet = Vec::new();
                encode(&mut packet);
                packet.into_boxed_slice()
            };
            let SentQuery { upstream, sent, replied, .. } = *sent;
            // As in CoreDNS, the extra text of each message can have the upstream of its query.
            cx.metadata.set_with(UPSTREAM, || upstream.to_string());
            let asking = TapMessage {
                message_type: MessageType::ForwarderQuery,
                protocol,
                asks: None,
                answers: Some(upstream),
                asked: sent,
                answered: None,
                octets: self.full.then(|| encoded(&|packet| query.encode(packet))),
                extra: self.extra(cx, query),
            };
            let response = replied.map(|_| TapMessage {
                message_type: MessageType::ForwarderResponse,
                answered: replied,
                octets: answer.map(|response| {
                    encoded(&|packet| {
                        response.encode(query, Room::stream(limits::UDP_OCTETS), packet);
                    })
                }),
                ..asking.clone()
            });
            self.queue.push(asking);
            response.into_iter().for_each(|response| self.queue.push(response));
        }
    }
}

fn protocol(proto: Proto) -> Option<SocketProtocol> {
    match proto {
        Proto::Udp => Some(SocketProtocol::Udp),
        Proto::Tcp => Some(SocketProtocol::Tcp),
        Proto::Tls => Some(SocketProtocol::Tls),
        Proto::Https => Some(SocketProtocol::Https),
        Proto::Quic => Some(SocketProtocol::Quic),
        Proto::Grpc => None,
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut taps = Vec::new();
    lines.each(|arguments| match read_line(arguments) {
        Some(line) => taps.push(line),
        None => arguments.skip(),
    });
    Some(Box::new(DnstapLines(taps)))
}

fn read_line(arguments: &mut Arguments<'_>) -> Option<DnstapLine> {
    const WHAT: &str =
        "the socket of the receiver, such as /run/dnstap.sock or tcp://192.0.2.9:6000";
    let first = arguments.required(WHAT)?;
    let listens = first.text == "listen";
    let socket = if listens { arguments.required(WHAT)? } else { first };
    let endpoint = read_endpoint(socket, arguments)?;
    let full = arguments.optional();
    if let Some(other) = full.filter(|token| token.text != "full") {
        arguments
            .warning(other.span, &format!("{:?} has no effect", other.text))
            .help("write `full` to send the DNS messages themselves");
    }
    if !arguments.is_empty() {
        let span = arguments.span();
        arguments.number("the buffer in MiB", 1, 1024);
        arguments
            .warning(span, "the size of the buffer has no effect")
            .help("the last argument sets the size of the queue, which is what counts");
    }
    let queue = if arguments.is_empty() {
        1
    } else {
        arguments.number("the size of the queue in units of 10,000 messages", 1, 4096).unwrap_or(1)
    };
    let mut line = DnstapLine {
        endpoint,
        listens,
        full: full.is_some_and(|token| token.text == "full"),
        queue,
        identity: None,
        version: None,
        extra: None,
        skip_verify: false,
        tls: None,
    };
    // CoreDNS ignores further words.
    arguments.rest();
    OPTIONS.read(arguments, &mut line);
    line.check(arguments);
    Some(line)
}

fn read_endpoint(socket: &Token, arguments: &mut Arguments<'_>) -> Option<Endpoint> {
    let endpoint = Endpoint::parse(&socket.text);
    if endpoint.is_none() {
        let message = format!("not a socket: {:?}", socket.text);
        arguments
            .error(socket.span, &message)
            .help("write tcp://HOST:PORT, tls://HOST:PORT, unix:///PATH or /PATH");
    }
    endpoint
}

fn read_tls(line: &mut DnstapLine, option: &mut Arguments<'_>) {
    let mut file = |what| {
        let token = option.required(what)?;
        Some(TlsFile { path: token.text.clone(), span: token.span })
    };
    let (certificate, key) = (file("a certificate's file"), file("the file of its key"));
    let authority =
        option.optional().map(|token| TlsFile { path: token.text.clone(), span: token.span });
    line.tls = certificate.zip(key).map(|(certificate, key)| (certificate, key, authority));
}

impl DnstapLine {
    fn check(&self, arguments: &mut Arguments<'_>) {
        let span = arguments.span();
        if self.tls.is_some() && !self.listens {
            arguments
                .error(span, "`tls` is for listeners only")
                .help("write `dnstap listen`, or delete the option");
        }
        if self.listens && self.endpoint.is_encrypted() && self.tls.is_none() {
            arguments
                .warning(span, "nothing is served: a TLS listener needs a certificate")
                .help("add the option `tls CERT KEY`");
        }
    }
}
