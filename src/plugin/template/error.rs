//! What can be wrong with a template.

use thiserror::Error;

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum SyntaxError {
    #[error("an action has no closing }}}}")]
    Unclosed,
    #[error("a quoted string does not end, or has an unknown escape")]
    Quote,
    #[error("unexpected `{0}` in an action")]
    Unexpected(String),
    #[error("an action is empty or ends too early")]
    Incomplete,
    #[error("`{{{{end}}}}` is missing")]
    NoEnd,
    #[error("`{{{{{0}}}}}` has nothing to end")]
    NothingToEnd(&'static str),
    #[error("there is no function `{0}`")]
    UnknownFunction(String),
    #[error("ndots does not have `{0}` of Go's templates")]
    NotHere(String),
    #[error("there is no variable `${0}`")]
    UnknownVariable(String),
    #[error("the actions are nested too deeply")]
    TooDeep,
}

/// Why a template cannot be rendered for a query.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum EvalError {
    #[error("there is no field `{0}`")]
    NoField(String),
    #[error("`{0}` cannot take these arguments")]
    Argument(&'static str),
    #[error("values of these kinds cannot be compared")]
    Incomparable,
    #[error("a value takes no arguments")]
    NotAFunction,
    #[error("the text is longer than a record can be")]
    TooLong,
}
