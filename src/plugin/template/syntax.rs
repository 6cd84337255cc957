//! The grammar of Go's `text/template`, as far as the texts of records need it.

mod lex;

use std::mem;

use crate::limits;

use lex::Token;

use super::{error::SyntaxError, function::Function};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If { condition: Pipeline, then: Vec<Self>, otherwise: Vec<Self> },
    With { value: Pipeline, then: Vec<Self>, otherwise: Vec<Self> },
    Range { values: Pipeline, body: Vec<Self>, otherwise: Vec<Self> },
}

/// Commands, each of which gets the result of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    /// The variables that the result is stored in. `range` can have two.
    pub(super) variables: Vec<String>,
    /// Whether the variables are declared (`:=`) instead of assigned (`=`).
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub(super) operand: Operand,
    pub(super) arguments: Vec<Operand>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Text(String),
    Integer(i64),
    Bool(bool),
    Function(Function),
    /// A value with the fields after it: `.Group.a` is the current value with two fields.
    Fields(Base, Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Base {
    /// `.`, which `with` and `range` change.
    Current,
    Variable(String),
    Pipeline(Box<Pipeline>),
}

/// # Errors
/// The text is not a template, or it uses something of Go's templates that ndots does not have.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let pieces = lex::pieces(text)?;
    let mut parser =
        Parser { pieces: pieces.into_iter(), variables: vec![String::new()], depth: 0 };
    match parser.nodes()? {
        (nodes, Ending::Text) => Ok(nodes),
        (_, Ending::End) => Err(SyntaxError::NothingToEnd("end")),
        (_, Ending::Else(_)) => Err(SyntaxError::NothingToEnd("else")),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<lex::Piece>,
    /// The names of the variables in scope. The empty name is `$`.
    variables: Vec<String>,
    depth: usize,
}

/// What ends a list of nodes.
enum Ending {
    Text,
    End,
    /// An `else` with the tokens after it, such as those of `else if`.
    Else(Tokens),
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<Token>>;

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, Ending), SyntaxError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let mut tokens = match piece {
                lex::Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                lex::Piece::Action(tokens) => tokens.into_iter().peekable(),
            };
            let Some(Token::Word(word)) = tokens.peek() else {
                nodes.push(Node::Print(self.pipeline(&mut tokens, Close::Action)?));
                continue;
            };
            match word.as_str() {
                "end" => {
                    tokens.next();
                    return tokens
                        .next()
                        .map_or(Ok((nodes, Ending::End)), |token| Err(unexpected(&token)));
                }
                "else" => {
                    tokens.next();
                    return Ok((nodes, Ending::Else(tokens)));
                }
                "if" | "with" | "range" => nodes.push(self.control(tokens)?),
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err(SyntaxError::NotHere(word.clone()));
                }
                _ => nodes.push(Node::Print(self.pipeline(&mut tokens, Close::Action)?)),
            }
        }
        Ok((nodes, Ending::Text))
    }

    /// `if`, `with` or `range` with everything up to its `end`.
    fn control(&mut self, mut tokens: Tokens) -> Result<Node, SyntaxError> {
        self.deeper()?;
        let scope = self.variables.len();
        let Some(Token::Word(keyword)) = tokens.next() else { return Err(SyntaxError::Incomplete) };
        let value = self.pipeline(&mut tokens, Close::Action)?;
        if value.variables.len() > 1 && keyword != "range" {
            return Err(SyntaxError::Unexpected(",".to_owned()));
        }
        let (then, end) = self.nodes()?;
        let otherwise = match end {
            Ending::Text => return Err(SyntaxError::NoEnd),
            Ending::End => Vec::new(),
            Ending::Else(tokens) => self.otherwise(&keyword, tokens)?,
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(match keyword.as_str() {
            "if" => Node::If { condition: value, then, otherwise },
            "with" => Node::With { value, then, otherwise },
            _ => Node::Range { values: value, body: then, otherwise },
        })
    }

    /// What follows `else`. `else if` and `else with` share the `end` of the first condition.
    fn otherwise(&mut self, keyword: &str, mut tokens: Tokens) -> Result<Vec<Node>, SyntaxError> {
        match tokens.peek() {
            None => match self.nodes()? {
                (nodes, Ending::End) => Ok(nodes),
                (_, Ending::Text) => Err(SyntaxError::NoEnd),
                (_, Ending::Else(_)) => Err(SyntaxError::NothingToEnd("else")),
            },
            Some(Token::Word(word)) if word == keyword && keyword != "range" => {
                Ok(vec![self.control(tokens)?])
            }
            Some(token) => Err(unexpected(token)),
        }
    }

    fn deeper(&mut self) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > limits::COREFILE_DEPTH { Err(SyntaxError::TooDeep) } else { Ok(()) }
    }

    fn pipeline(&mut self, tokens: &mut Tokens, close: Close) -> Result<Pipeline, SyntaxError> {
        self.deeper()?;
        let (variables, declares) = self.declaration(tokens)?;
        let mut commands = Vec::new();
        let mut operands = Vec::new();
        loop {
            match tokens.peek() {
                None if close == Close::Action => break,
                None => return Err(SyntaxError::Incomplete),
                Some(Token::Close) if close == Close::Parenthesis => break,
                Some(Token::Pipe) => {
                    commands.push(command(mem::take(&mut operands), commands.is_empty())?);
                }
                Some(_) => {
                    operands.push(self.operand(tokens)?);
                    continue;
                }
            }
            tokens.next();
        }
        tokens.next();
        commands.push(command(operands, commands.is_empty())?);
        self.depth -= 1;
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, declares, commands })
    }

    /// `$a :=`, `$a =` or `$a, $b :=` at the start of a pipeline.
    fn declaration(&mut self, tokens: &mut Tokens) -> Result<(Vec<String>, bool), SyntaxError> {
        let mut ahead = tokens.clone();
        let mut variables = Vec::new();
        while let Some(Token::Variable(name)) = ahead.next() {
            variables.push(name);
            let declares = match ahead.next() {
                Some(Token::Comma) if variables.len() == 1 => continue,
                Some(Token::Declare) => true,
                Some(Token::Assign) => false,
                _ => break,
            };
            *tokens = ahead;
            return match variables.iter().find(|name| !declares && !self.variables.contains(name)) {
                Some(unknown) => Err(SyntaxError::UnknownVariable(unknown.clone())),
                None => Ok((variables, declares)),
            };
        }
        Ok((Vec::new(), false))
    }

    fn operand(&mut self, tokens: &mut Tokens) -> Result<Operand, SyntaxError> {
        let Some(token) = tokens.next() else { return Err(SyntaxError::Incomplete) };
        let base = match token {
            Token::Text(text) => return Ok(Operand::Text(text)),
            Token::Integer(number) => return Ok(Operand::Integer(number)),
            Token::Word(word) if word == "true" || word == "false" => {
                return Ok(Operand::Bool(word == "true"));
            }
            Token::Word(word) => return Function::named(&word).map(Operand::Function),
            Token::Dot => Base::Current,
            Token::Field(name) => {
                return Ok(Operand::Fields(Base::Current, fields(Some(name), tokens)?));
            }
            Token::Variable(name) if self.variables.contains(&name) => Base::Variable(name),
            Token::Variable(name) => return Err(SyntaxError::UnknownVariable(name)),
            Token::Open => Base::Pipeline(Box::new(self.pipeline(tokens, Close::Parenthesis)?)),
            other => return Err(unexpected(&other)),
        };
        Ok(Operand::Fields(base, fields(None, tokens)?))
    }
}

/// What ends a pipeline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Close {
    Action,
    Parenthesis,
}

/// The fields that follow without a space.
fn fields(first: Option<String>, tokens: &mut Tokens) -> Result<Vec<String>, SyntaxError> {
    let mut fields: Vec<String> = first.into_iter().collect();
    while let Some(Token::Joined(name)) = tokens.peek() {
        fields.push(name.clone());
        tokens.next();
    }
    match fields.first() {
        Some(first) if first == "Message" => Err(SyntaxError::NotHere(".Message".to_owned())),
        _ => Ok(fields),
    }
}

fn command(operands: Vec<Operand>, first: bool) -> Result<Command, SyntaxError> {
    let mut operands = operands.into_iter();
    let Some(operand) = operands.next() else { return Err(SyntaxError::Incomplete) };
    let takes_arguments = matches!(operand, Operand::Function(_) | Operand::Fields(..));
    let command = Command { operand, arguments: operands.collect() };
    if takes_arguments || (first && command.arguments.is_empty()) {
        Ok(command)
    } else {
        Err(SyntaxError::Unexpected("a value that is not a function".to_owned()))
    }
}

fn unexpected(token: &Token) -> SyntaxError {
    SyntaxError::Unexpected(token.to_string())
}
