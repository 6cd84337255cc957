//! A text with actions between `{{` and `}}`, which becomes the text of a record for each query.

use std::fmt;

use crate::limits;

use super::{
    error::{EvalError, SyntaxError},
    function::Function,
    syntax::{self, Base, Command, Node, Operand, Pipeline},
    value::{Data, Value},
};

/// Its `Debug` output is its source.
#[derive(Clone)]
pub(super) struct Text {
    pub(super) source: String,
    nodes: Vec<Node>,
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Text {
    /// # Errors
    /// The source is not a template.
    pub(super) fn new(source: &str) -> Result<Self, SyntaxError> {
        Ok(Self { source: source.to_owned(), nodes: syntax::parse(source)? })
    }

    /// The text, if it is the same for every query.
    pub(super) fn constant(&self) -> Option<&str> {
        self.nodes.iter().all(|node| matches!(node, Node::Text(_))).then_some(&self.source)
    }

    /// # Errors
    /// A function or a field cannot be used as the template does.
    pub(super) fn render(&self, data: &Data<'_>) -> Result<String, EvalError> {
        let root = Value::Data(data);
        let variables = vec![("", root.clone())];
        let mut renderer = Renderer { out: String::new(), variables, steps: 0, made: 0 };
        renderer.nodes(&self.nodes, &root)?;
        Ok(renderer.out)
    }
}

struct Renderer<'t, 'd> {
    out: String,
    /// The variables in scope. A later one hides an earlier one with the same name.
    variables: Vec<(&'t str, Value<'d>)>,
    steps: usize,
    /// The octets of all texts that functions returned. A variable can become longer each time that
    /// a `range` is repeated.
    made: usize,
}

impl<'t, 'd> Renderer<'t, 'd> {
    fn nodes(&mut self, nodes: &'t [Node], current: &Value<'d>) -> Result<(), EvalError> {
        for node in nodes {
            self.node(node, current)?;
            self.steps += 1;
            if self.steps.max(self.out.len()) > limits::STREAM_OCTETS {
                return Err(EvalError::TooLong);
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &'t Node, current: &Value<'d>) -> Result<(), EvalError> {
        let scope = self.variables.len();
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, current)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&value.print()?);
                }
                return Ok(());
            }
            Node::If { condition, then, otherwise } => {
                let holds = self.pipeline(condition, current)?.is_true();
                self.nodes(if holds { then } else { otherwise }, current)?;
            }
            Node::With { value, then, otherwise } => match self.pipeline(value, current)? {
                value if value.is_true() => self.nodes(then, &value)?,
                _ => self.nodes(otherwise, current)?,
            },
            Node::Range { values, body, otherwise } => {
                self.range(values, body, current).and_then(|count| {
                    if count == 0 { self.nodes(otherwise, current) } else { Ok(()) }
                })?;
            }
        }
        self.variables.truncate(scope);
        Ok(())
    }

    /// Returns the number of elements.
    fn range(
        &mut self,
        values: &'t Pipeline,
        body: &'t [Node],
        current: &Value<'d>,
    ) -> Result<usize, EvalError> {
        let elements = self.commands(values, current)?.elements()?;
        let count = elements.len();
        for (key, element) in elements {
            let scope = self.variables.len();
            match &*values.variables {
                [] => {}
                [single] => self.store(values.declares, single, element.clone()),
                [first, second, ..] => {
                    self.store(values.declares, first, key);
                    self.store(values.declares, second, element.clone());
                }
            }
            self.nodes(body, &element)?;
            self.variables.truncate(scope);
        }
        Ok(count)
    }

    fn pipeline(
        &mut self,
        pipeline: &'t Pipeline,
        current: &Value<'d>,
    ) -> Result<Value<'d>, EvalError> {
        let value = self.commands(pipeline, current)?;
        for variable in &pipeline.variables {
            self.store(pipeline.declares, variable, value.clone());
        }
        Ok(value)
    }

    fn store(&mut self, declares: bool, name: &'t str, value: Value<'d>) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| !declares && *known == name);
        match known {
            Some((_, old)) => *old = value,
            None => self.variables.push((name, value)),
        }
    }

    fn commands(
        &mut self,
        pipeline: &'t Pipeline,
        current: &Value<'d>,
    ) -> Result<Value<'d>, EvalError> {
        let mut result = None;
        for command in &pipeline.commands {
            result = Some(self.command(command, current, result)?);
        }
        Ok(result.unwrap_or(Value::Missing))
    }

    /// `last` is the result of the command before.
    fn command(
        &mut self,
        command: &'t Command,
        current: &Value<'d>,
        last: Option<Value<'d>>,
    ) -> Result<Value<'d>, EvalError> {
        match &command.operand {
            Operand::Function(function) => self.call(*function, &command.arguments, current, last),
            Operand::Fields(base, fields) if fields.last().is_some_and(|name| name == "Meta") => {
                let owner = self.fields(base, &fields[..fields.len() - 1], current)?;
                let key = match (&*command.arguments, last) {
                    ([key], None) => self.operand(key, current)?,
                    ([], Some(key)) => key,
                    _ => return Err(EvalError::Argument("Meta")),
                };
                match (owner, key) {
                    (Value::Data(data), Value::Text(key)) => {
                        Ok(Value::text(data.metadata.get(&key).unwrap_or("")))
                    }
                    _ => Err(EvalError::Argument("Meta")),
                }
            }
            operand if command.arguments.is_empty() && last.is_none() => {
                self.operand(operand, current)
            }
            _ => Err(EvalError::NotAFunction),
        }
    }

    fn call(
        &mut self,
        function: Function,
        arguments: &'t [Operand],
        current: &Value<'d>,
        last: Option<Value<'d>>,
    ) -> Result<Value<'d>, EvalError> {
        let mut values = Vec::new();
        for argument in arguments {
            values.push(self.operand(argument, current)?);
            let decides = values.last().map(Value::is_true) == function.short_circuit();
            if function.short_circuit().is_some() && decides {
                return self.counted(function.call(&values)?);
            }
        }
        values.extend(last);
        self.counted(function.call(&values)?)
    }

    fn counted(&mut self, value: Value<'d>) -> Result<Value<'d>, EvalError> {
        if let Value::Text(text) = &value {
            self.made += text.len();
        }
        if self.made > limits::STREAM_OCTETS { Err(EvalError::TooLong) } else { Ok(value) }
    }

    fn operand(
        &mut self,
        operand: &'t Operand,
        current: &Value<'d>,
    ) -> Result<Value<'d>, EvalError> {
        match operand {
            Operand::Text(text) => Ok(Value::text(text)),
            Operand::Integer(number) => Ok(Value::Integer(*number)),
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::Function(function) => self.call(*function, &[], current, None),
            Operand::Fields(base, fields) => self.fields(base, fields, current),
        }
    }

    fn fields(
        &mut self,
        base: &'t Base,
        fields: &[String],
        current: &Value<'d>,
    ) -> Result<Value<'d>, EvalError> {
        let base = match base {
            Base::Current => current.clone(),
            Base::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.map_or(Value::Missing, |(_, value)| value.clone())
            }
            Base::Pipeline(pipeline) => self.pipeline(pipeline, current)?,
        };
        fields.iter().try_fold(base, |value, name| value.field(name))
    }
}
