//! Directives that are accepted and have no effect, each with the reason in a warning.

use crate::corefile::Arguments;

use super::{Directive, DirectiveLines, OptionSpec, OptionTable, PluginSettings, Role};

/// The options of a directive without an effect.
type Unused = OptionTable<()>;

const fn unused(
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
) -> OptionSpec<()> {
    OptionSpec::new(name, arguments, about, |(), option| {
        option.rest();
    })
}

/// An option whose value is a number.
const fn bound(name: &'static str) -> OptionSpec<()> {
    OptionSpec::new(name, "COUNT", "Has no effect.", |(), option| {
        let span = option.span();
        if option.number("the bound", 0, i32::MAX).is_some() {
            option
                .warning(span, "this bound has no effect")
                .help("ndots has bounds of its own: see SECURITY.md");
        }
    })
}

#[derive(Debug)]
struct NoEffect;

impl PluginSettings for NoEffect {}

pub(super) static PPROF: Directive = Directive {
    name: "pprof",
    about: "Has no effect: ndots has no Go runtime. For a CPU profile use `perf record -g -p PID`, and for memory the metrics `process_*`.",
    arguments: "[ADDRESS]",
    options: &PPROF_OPTIONS,
    roles: &[Role::Configures],
    example: ".:53 {\n    pprof localhost:6053\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read: |lines| {
        warn_once(
            lines,
            &PPROF_OPTIONS,
            "nothing is served: there is no Go runtime to profile",
            |arguments| {
                arguments.listen("localhost:6053");
            },
        )
    },
};
static PPROF_OPTIONS: Unused = OptionTable(&[unused("block", "[RATE]", "Has no effect.")]);

/// The descriptor of a directive that bounds the connections of encrypted listeners.
macro_rules! bounds {
    ($directive:ident, $options:ident, $name:literal, $example:literal, [$($option:literal),*]) => {
        pub(super) static $directive: Directive = Directive {
            name: $name,
            about: "Has no effect: HTTPS, HTTP/3, gRPC and QUIC connections have the fixed bounds of ndots.",
            arguments: "",
            options: &$options,
            roles: &[Role::Configures],
            example: $example,
            lints: &[],
            read: |lines| {
                lines.each(|arguments| $options.read(arguments, &mut ()));
                Some(Box::new(NoEffect))
            },
        };
        static $options: Unused = OptionTable(&[$(bound($option)),*]);
    };
}

bounds!(
    QUIC,
    QUIC_OPTIONS,
    "quic",
    "quic://.:853 {\n    tls cert.pem key.pem\n    quic\n    forward . 192.0.2.53\n}\n",
    ["max_streams", "max_connections", "worker_pool_size"]
);
bounds!(
    HTTPS,
    HTTPS_OPTIONS,
    "https",
    "https://.:443 {\n    tls cert.pem key.pem\n    https\n    forward . 192.0.2.53\n}\n",
    ["max_connections", "max_streams"]
);

bounds!(
    HTTPS3,
    HTTPS3_OPTIONS,
    "https3",
    "https3://.:443 {\n    tls cert.pem key.pem\n    https3\n    forward . 192.0.2.53\n}\n",
    ["max_streams", "max_connections"]
);

bounds!(
    GRPC_SERVER,
    GRPC_SERVER_OPTIONS,
    "grpc_server",
    "grpc://.:443 {\n    tls cert.pem key.pem\n    grpc_server\n    forward . 192.0.2.53\n}\n",
    ["max_streams", "max_connections"]
);

fn warn_once(
    lines: &mut DirectiveLines<'_>,
    options: &Unused,
    message: &str,
    mut read: impl FnMut(&mut Arguments<'_>),
) -> Option<Box<dyn PluginSettings>> {
    lines.each(|arguments| {
        let span = arguments.span();
        read(arguments);
        options.read(arguments, &mut ());
        arguments.warning(span, message);
    });
    Some(Box::new(NoEffect))
}
