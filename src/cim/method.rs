//! A method call as values: what came in, by the position of the declared parameter, and what goes out.

use super::{EmbeddedInstance, Method, Value};

/// One in-parameter as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Argument {
    /// Not given, or null.
    #[default]
    Null,
    /// A value of the declared type. A reference may also come as bare text (a name or a GUID): then it is a
    /// `Value::String`, which the provider looks up.
    Value(Value),
    /// An embedded instance: the class it names and the properties it sets.
    Embedded(EmbeddedInstance),
    /// An embedded instance with a property whose TYPE is not the declared one: the method answers
    /// `Incorrect data type` rather than a fault. The text says which and where.
    EmbeddedTypeMismatch(String),
}

/// The in-parameters of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodInput(Vec<Argument>);

impl MethodInput {
    /// An input with every parameter null.
    pub fn empty(method: &Method) -> Self {
        Self(vec![Argument::Null; method.parameters.len()])
    }

    /// The argument at `index` of the declaration; null when it was not given.
    pub fn get(&self, index: usize) -> &Argument {
        self.0.get(index).unwrap_or(&Argument::Null)
    }

    /// Gives the argument at `index` of the declaration.
    pub fn set(&mut self, index: usize, argument: Argument) {
        if let Some(slot) = self.0.get_mut(index) {
            *slot = argument;
        }
    }

    /// The argument of the parameter with that name.
    pub fn by_name(&self, method: &Method, name: &str) -> &Argument {
        let index = method.parameters.iter().position(|parameter| parameter.name.eq_ignore_ascii_case(name));
        index.map_or(&Argument::Null, |index| self.get(index))
    }
}

/// What a method gives back.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodResult {
    /// `ReturnValue`.
    pub return_value: u32,
    /// Out-parameters by name; those not listed are null.
    pub out: Vec<(&'static str, Value)>,
}

impl MethodResult {
    /// A return value and nothing else.
    pub fn code(return_value: u32) -> Self {
        Self { return_value, out: Vec::new() }
    }
}
