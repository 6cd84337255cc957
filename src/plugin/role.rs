//! The effects that a directive can have on its server block.

/// An effect of a directive on its server block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers queries, from its own data or by asking upstreams.
    Answers,
    /// Its replies come from upstreams, so `cache` may keep them.
    AsksUpstreams,
    /// Has complete zones that `transfer` can send to secondary servers.
    HasZones,
    /// Changes or replaces the replies of the plugins after it.
    ChangesReplies,
    /// Its settings decide which replies the block's cache may hold. The cache survives a reload
    /// only if none of them changed.
    DecidesCacheContents,
    /// Reads files.
    ReadsFiles,
    /// Serves a page over HTTP.
    ServesPage,
    /// Counts or logs queries.
    Observes,
    /// Its arguments name zones, which should overlap with the keys of the block.
    TakesZones(ZoneArguments),
    /// Collects facts about queries for other plugins.
    Informs,
    /// Sets how the block or the process works and handles no query itself.
    Configures,
}

/// The arguments of a directive that name zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneArguments {
    First,
    All,
}

impl Role {
    /// A sentence about the plugin for its help page.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Answers => "It answers queries.",
            Self::AsksUpstreams => "Its replies come from upstreams, so `cache` may keep them.",
            Self::HasZones => "`transfer` can send its zones to secondary servers.",
            Self::ChangesReplies => "It changes or replaces the replies of the plugins after it.",
            Self::DecidesCacheContents => {
                "A reload that changes its settings starts with an empty cache."
            }
            Self::ReadsFiles => "It reads files.",
            Self::ServesPage => "It serves a page over HTTP.",
            Self::Observes => "It counts or logs queries and changes no reply.",
            Self::TakesZones(_) => "Its zones should overlap with the keys of the block.",
            Self::Informs => {
                "It collects facts about queries for other plugins, and changes no reply."
            }
            Self::Configures => "It configures the server and handles no query itself.",
        }
    }
}
