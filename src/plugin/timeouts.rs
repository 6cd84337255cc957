//! `timeouts { read|write|idle DURATION; maxtcpqueries COUNT }`.

use std::time::Duration;

use crate::corefile::Arguments;

use super::{
    Directive, DirectiveLines, Need, OptionSpec, OptionTable, PluginSettings, Role, Timeouts,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "timeouts",
    about: "Sets how long connections over TCP, TLS, HTTPS, HTTP/3, gRPC and QUIC may be idle, and how long messages over TCP, TLS, HTTP/3 and QUIC may take.",
    arguments: "",
    options: &OPTIONS,
    roles: &[Role::Configures],
    example: "tls://.:853 {\n    tls cert.pem key.pem\n    timeouts {\n        idle 1m\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<Settings> = OptionTable(&[
    OptionSpec::new(
        "read",
        "DURATION",
        "How long a message over TCP, TLS, HTTP/3 or QUIC may take to arrive; the default is 3s.",
        |settings, option| settings.set(option, |timeouts| &mut timeouts.read),
    ),
    OptionSpec::new(
        "write",
        "DURATION",
        "How long a client over TCP, TLS, HTTP/3 or QUIC may take to read its replies; the default is 5s.",
        |settings, option| settings.set(option, |timeouts| &mut timeouts.write),
    ),
    OptionSpec::new(
        "idle",
        "DURATION",
        "How long a connection may wait for its next query; the default is 10s.",
        |settings, option| settings.set(option, |timeouts| &mut timeouts.idle),
    ),
    OptionSpec::new(
        "maxtcpqueries",
        "COUNT",
        "After this many queries a connection over TCP or TLS is closed; the default is -1, for no bound.",
        |settings, option| {
            settings.written = true;
            let span = option.span();
            match option.number("maxtcpqueries", -1, i32::MAX) {
                Some(0) => {
                    option.error(
                        span,
                        "maxtcpqueries needs to be -1 (unlimited) or a positive integer",
                    );
                }
                Some(count) => settings.timeouts.queries = u32::try_from(count).ok(),
                None => {}
            }
        },
    ),
]);

#[derive(Debug, Default)]
struct Settings {
    timeouts: Timeouts,
    written: bool,
}

impl Settings {
    fn set(&mut self, option: &mut Arguments<'_>, which: fn(&mut Timeouts) -> &mut Duration) {
        const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
        self.written = true;
        let time = option.duration_or_seconds("the timeout", Duration::from_secs(1), LONGEST);
        let field = which(&mut self.timeouts);
        *field = time.unwrap_or(*field);
    }
}

impl PluginSettings for Settings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Timeouts(self.timeouts)]
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut settings = Settings::default();
    lines.each(|arguments| {
        OPTIONS.read(arguments, &mut settings);
        if !settings.written {
            let span = arguments.span();
            arguments
                .error(span, "timeouts block with no timeouts specified")
                .help("such as `idle 1m` in braces");
        }
    });
    Some(Box::new(settings))
}
