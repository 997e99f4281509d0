//! The grammar of the assertion language: text to expressions.

use std::cmp::Ordering;

use crate::path::namespace;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    /// A quoted literal.
    Text(String),
    /// A number.
    Number(f64),
    /// `$name`.
    Variable(String),
    /// A location path.
    Path(Path),
    /// `name(arguments)`.
    Call(String, Vec<Expression>),
    /// Both hold.
    And(Box<Expression>, Box<Expression>),
    /// One of the two holds.
    Or(Box<Expression>, Box<Expression>),
    /// A comparison.
    Compare(Comparison, Box<Expression>, Box<Expression>),
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// Whether an order of two values satisfies the operator.
    pub(crate) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }

    /// Whether the operator compares numbers whatever its operands are.
    pub(crate) fn is_ordered(self) -> bool {
        !matches!(self, Self::Equal | Self::Unequal)
    }
}

/// A location path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Path {
    /// Whether it starts above the root.
    pub absolute: bool,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Where it goes.
    pub axis: Axis,
    /// Which names it accepts.
    pub test: NameTest,
    /// What must hold besides.
    pub predicates: Vec<Expression>,
}

/// Where a step goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// `/name`
    Child,
    /// `//name`
    Descendant,
    /// `@name`
    Attribute,
    /// `text()`
    Text,
    /// `.`
    Itself,
    /// `..`
    Parent,
}

/// Which names a step accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NameTest {
    /// `*`
    Any,
    /// `prefix:*`
    AnyIn(String),
    /// `*:local`, in any namespace.
    Local(String),
    /// `prefix:local`, or a bare name for no namespace.
    Named {
        /// The namespace's URI.
        namespace: String,
        /// The local name.
        local: String,
    },
}

/// Parses a whole expression. The error names the place.
pub(crate) fn parse(source: &str) -> Result<Expression, String> {
    let mut parser = Parser { source, at: 0 };
    let expression = parser.or().map_err(|error| format!("{error} at octet {} of {source:?}", parser.at))?;
    parser.space();
    if parser.rest().is_empty() { Ok(expression) } else { Err(format!("left over: {:?} of {source:?}", parser.rest())) }
}

struct Parser<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Parser<'s> {
    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or("")
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn need(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(format!("{token:?} is missing")) }
    }

    /// Eats a keyword: the word must not go on.
    fn eat_word(&mut self, word: &str) -> bool {
        self.space();
        let follows = self.rest().strip_prefix(word).and_then(|rest| rest.chars().next());
        let found = self.rest().starts_with(word) && !follows.is_some_and(is_name_character);
        if found {
            self.at += word.len();
        }
        found
    }

    fn or(&mut self) -> Result<Expression, String> {
        let mut left = self.and()?;
        while self.eat_word("or") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, String> {
        let mut left = self.comparison()?;
        while self.eat_word("and") {
            left = Expression::And(Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        const OPERATORS: [(&str, Comparison); 6] = [
            ("!=", Comparison::Unequal),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("=", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let left = self.primary()?;
        for (token, comparison) in OPERATORS {
            if self.eat(token) {
                return Ok(Expression::Compare(comparison, Box::new(left), Box::new(self.primary()?)));
            }
        }
        Ok(left)
    }

    fn primary(&mut self) -> Result<Expression, String> {
        self.space();
        let next = self.rest().chars().next().ok_or("an expression is missing")?;
        match next {
            '(' => {
                self.need("(")?;
                let inner = self.or()?;
                self.need(")")?;
                Ok(inner)
            }
            '\'' | '"' => self.literal(next),
            '$' => {
                self.need("$")?;
                Ok(Expression::Variable(self.word(|c| is_name_character(c) || c == '.')))
            }
            digit if digit.is_ascii_digit() => {
                let digits = self.word(|c| c.is_ascii_digit() || c == '.');
                digits.parse().map(Expression::Number).map_err(|error| format!("{digits:?}: {error}"))
            }
            _ => self.call_or_path(),
        }
    }

    fn literal(&mut self, quote: char) -> Result<Expression, String> {
        self.at += quote.len_utf8();
        let text = self.word(|c| c != quote);
        self.at += quote.len_utf8();
        if self.at > self.source.len() { Err("an open quote".to_owned()) } else { Ok(Expression::Text(text)) }
    }

    fn word(&mut self, accept: impl Fn(char) -> bool) -> String {
        let word: String = self.rest().chars().take_while(|c| accept(*c)).collect();
        self.at += word.len();
        word
    }

    fn call_or_path(&mut self) -> Result<Expression, String> {
        let start = self.at;
        let name = self.word(is_name_character);
        if !name.is_empty() && name != "text" && self.rest().starts_with('(') {
            self.need("(")?;
            let mut arguments = Vec::new();
            if !self.eat(")") {
                loop {
                    arguments.push(self.or()?);
                    if self.eat(")") {
                        break;
                    }
                    self.need(",")?;
                }
            }
            return Ok(Expression::Call(name, arguments));
        }
        self.at = start;
        self.path().map(Expression::Path)
    }

    fn path(&mut self) -> Result<Path, String> {
        let absolute = self.rest().starts_with('/');
        let mut steps = Vec::new();
        let mut axis = Axis::Child;
        if self.eat("//") {
            axis = Axis::Descendant;
        } else {
            _ = self.eat("/");
        }
        loop {
            steps.push(self.step(axis)?);
            if self.rest().starts_with("//") {
                self.at += 2;
                axis = Axis::Descendant;
            } else if self.rest().starts_with('/') {
                self.at += 1;
                axis = Axis::Child;
            } else {
                return Ok(Path { absolute, steps });
            }
        }
    }

    fn step(&mut self, axis: Axis) -> Result<Step, String> {
        let mut step = Step { axis, test: NameTest::Any, predicates: Vec::new() };
        if self.rest().starts_with("..") {
            self.at += 2;
            step.axis = Axis::Parent;
        } else if self.rest().starts_with('.') {
            self.at += 1;
            step.axis = Axis::Itself;
        } else if self.rest().starts_with("text()") {
            self.at += "text()".len();
            step.axis = Axis::Text;
        } else {
            if self.rest().starts_with('@') {
                self.at += 1;
                step.axis = Axis::Attribute;
            }
            step.test = self.name_test()?;
        }
        while self.rest().starts_with('[') {
            self.at += 1;
            step.predicates.push(self.or()?);
            self.need("]")?;
        }
        Ok(step)
    }

    fn name_test(&mut self) -> Result<NameTest, String> {
        let first = self.word(|c| is_name_character(c) || c == '*');
        if first.is_empty() {
            return Err("a name is missing".to_owned());
        }
        if !self.rest().starts_with(':') {
            let named = NameTest::Named { namespace: String::new(), local: first.clone() };
            return Ok(if first == "*" { NameTest::Any } else { named });
        }
        self.at += 1;
        let local = self.word(|c| is_name_character(c) || c == '*');
        if first == "*" {
            return Ok(NameTest::Local(local));
        }
        let namespace = namespace(&first).ok_or_else(|| format!("unknown prefix {first:?}"))?.to_owned();
        Ok(if local == "*" { NameTest::AnyIn(namespace) } else { NameTest::Named { namespace, local } })
    }
}

fn is_name_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '-'
}

#[cfg(test)]
mod tests {
    use crate::path::{Variables, holds, text};
    use crate::xml::Document;

    const SOAP: &str = "<S:Envelope xmlns:S='http://www.w3.org/2003/05/soap-envelope'><S:Body><c xmlns:q='urn:q' n='3'>\
        <i k='a'>1</i><i k='b'>2</i><v>q:Name</v></c></S:Body></S:Envelope>";

    #[test]
    fn expressions_are_evaluated() {
        let document = Document::parse(SOAP).unwrap();
        let variables = Variables::from([("want".to_owned(), "2".to_owned())]);
        for expression in [
            "/s:Envelope/s:Body",
            "count(//i) = 2",
            "count(/s:Envelope/s:Body/*) = 1 and not(//nope)",
            "//i[@k='b'] = $want",
            "//i[2] = 2",
            "//i[last()] = 2",
            "string(//i[1]) != '2'",
            "//c/@n >= 3",
            "qname(//v) = '{urn:q}Name'",
            "local-name(/*) = 'Envelope' and namespace-uri(/*/*) = 'http://www.w3.org/2003/05/soap-envelope'",
            "matches(//c/@n, '^[0-9]+$')",
            "count(//*[local-name()='i']) = 2",
            "contains(concat('a', //i, 'b'), 'a1b')",
            "boolean(//i) != boolean(//nope)",
            "//i[@k='a']/../v",
            "count(//*:i) = 2 or false()",
        ] {
            assert_eq!(holds(&document, &variables, expression), Ok(true), "{expression}");
        }
        assert_eq!(text(&document, &variables, "inner-markup(//v)").unwrap(), "q:Name");
        assert_eq!(holds(&document, &variables, "//i = 3"), Ok(false));
    }

    #[test]
    fn mistakes_are_told() {
        for expression in ["", "count(", "//bad:x", "'open", "a ]", "$none", "frob()", "a b"] {
            let document = Document::parse(SOAP).unwrap();
            assert!(holds(&document, &Variables::new(), expression).is_err(), "{expression}");
        }
    }
}
