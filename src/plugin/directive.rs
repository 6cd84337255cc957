//! The descriptor of a directive: its name, help and options, its effect on a server block, and the
//! function that reads it.
//!
//! Each plugin file has one descriptor. The parser, the lints, `ndots plugins` and the pages in
//! `docs/plugins` are derived from it.

mod lines;

use std::fmt;

use crate::corefile::Arguments;

use super::{Lint, PluginSettings, Role};

pub use lines::DirectiveLines;

/// Describes one directive of the Corefile.
pub struct Directive {
    pub name: &'static str,
    /// One sentence that says what the plugin does.
    pub about: &'static str,
    /// Usage text such as `FROM TO…`. It is empty for a directive without arguments.
    pub arguments: &'static str,
    pub options: &'static dyn ListOptions,
    pub roles: &'static [Role],
    /// A Corefile without errors. A test runs it through the check.
    pub example: &'static str,
    pub lints: &'static [Lint],
    /// Reads all lines of the directive in one block. `None` means that an error makes the settings
    /// useless; the error is in the diagnostics.
    pub read: fn(&mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>>,
}

impl fmt::Debug for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Directive {
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// One option of a directive. `S` is the type that the option's reader writes to.
pub struct OptionSpec<S> {
    help: OptionHelp,
    accepts: Option<fn(&str) -> bool>,
    /// Whether the name may be written in any letter case.
    any_case: bool,
    repetition: Repetition,
    read: fn(&mut S, &mut Arguments<'_>),
}

/// The help for an option.
#[derive(Clone, Copy, Debug)]
pub struct OptionHelp {
    pub name: &'static str,
    /// Usage text such as `ZONE…`. It is empty for an option without arguments.
    pub arguments: &'static str,
    /// One line. For a removed option it says what to write instead.
    pub about: &'static str,
    pub status: OptionStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionStatus {
    Available,
    /// CoreDNS has it and ndots does not have it yet.
    NotYet,
    /// An older CoreDNS had it.
    Removed,
}

/// What several lines of one option mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repetition {
    /// Only the last one has an effect, and a warning says so.
    LastCounts,
    /// Each has an effect, or the reader reports the repetition itself.
    AllCount,
}

impl<S> OptionSpec<S> {
    /// An option that counts once. Arguments and braces that `read` leaves unread are errors.
    pub const fn new(
        name: &'static str,
        arguments: &'static str,
        about: &'static str,
        read: fn(&mut S, &mut Arguments<'_>),
    ) -> Self {
        let help = OptionHelp { name, arguments, about, status: OptionStatus::Available };
        Self { help, accepts: None, any_case: false, repetition: Repetition::LastCounts, read }
    }

    /// An option whose lines all count.
    pub const fn repeated(
        name: &'static str,
        arguments: &'static str,
        about: &'static str,
        read: fn(&mut S, &mut Arguments<'_>),
    ) -> Self {
        Self { repetition: Repetition::AllCount, ..Self::new(name, arguments, about, read) }
    }

    /// An option without a fixed name: `accepts` decides by the first word of a line, such as an
    /// address. All such lines count. `placeholder` stands for the first word in the help.
    pub const fn matching(
        accepts: fn(&str) -> bool,
        placeholder: &'static str,
        arguments: &'static str,
        about: &'static str,
        read: fn(&mut S, &mut Arguments<'_>),
    ) -> Self {
        Self { accepts: Some(accepts), ..Self::repeated(placeholder, arguments, about, read) }
    }

    /// The same option, whose name may be written in any letter case.
    pub const fn in_any_case(self) -> Self {
        Self { any_case: true, ..self }
    }

    /// An option of CoreDNS that ndots does not have yet.
    pub const fn not_yet(name: &'static str) -> Self {
        Self::unavailable(
            name,
            "CoreDNS has this option; ndots does not have it yet.",
            OptionStatus::NotYet,
        )
    }

    /// An option of an older CoreDNS. `instead` says what to write today.
    pub const fn removed(name: &'static str, instead: &'static str) -> Self {
        Self::unavailable(name, instead, OptionStatus::Removed)
    }

    const fn unavailable(name: &'static str, about: &'static str, status: OptionStatus) -> Self {
        let help = OptionHelp { name, arguments: "", about, status };
        Self {
            help,
            accepts: None,
            any_case: false,
            repetition: Repetition::AllCount,
            read: |_, option| option.skip(),
        }
    }

    fn takes(&self, name: &str) -> bool {
        let same = |name: &str| match self.any_case {
            true => self.help.name.eq_ignore_ascii_case(name),
            false => self.help.name == name,
        };
        self.accepts.map_or_else(|| same(name), |accepts| accepts(name))
    }
}

/// All options of a directive.
pub struct OptionTable<S: 'static>(pub &'static [OptionSpec<S>]);

impl<S> OptionTable<S> {
    /// Reads the body of a line into `settings`.
    pub fn read(&self, arguments: &mut Arguments<'_>, settings: &mut S) {
        arguments.options(|option| self.read_option(option, settings));
    }

    fn read_option(&self, option: &mut Arguments<'_>, settings: &mut S) {
        let Some(spec) = self.0.iter().find(|spec| spec.takes(option.name())) else {
            let named = |status| {
                let specs = self.0.iter().filter(|spec| spec.accepts.is_none());
                specs.map(|spec| spec.help).filter(move |help| help.status == status)
            };
            let names = |status| named(status).map(|help| help.name).collect::<Vec<_>>();
            return option.unknown(&names(OptionStatus::Available), &names(OptionStatus::NotYet));
        };
        match spec.help.status {
            OptionStatus::NotYet => option.not_yet(),
            OptionStatus::Removed => option.removed(spec.help.about),
            OptionStatus::Available => {
                if spec.repetition == Repetition::LastCounts {
                    option.once();
                }
                (spec.read)(settings, option);
            }
        }
    }
}

/// The option table of any directive, for the help.
pub trait ListOptions: Sync {
    fn list(&self) -> Vec<OptionHelp>;
}

impl<S> ListOptions for OptionTable<S> {
    fn list(&self) -> Vec<OptionHelp> {
        self.0.iter().map(|spec| spec.help).collect()
    }
}

/// The table of a directive without options.
pub static NO_OPTIONS: OptionTable<()> = OptionTable(&[]);
