//! The text of an expression becomes its parts. What is not served is refused here.

use super::lex::{Lexer, Token, TokenKind};
use super::{
    Axis, COST_MAX, DEPTH_MAX, Expression, Function, Level, OCTETS_MAX, Operator, PARTS_MAX, Path, Step, Test,
    XPathError,
};

/// The functions that are served, with the fewest and the most arguments of each.
const FUNCTIONS: [(&str, usize, usize); 13] = [
    ("boolean", 1, 1),
    ("concat", 2, 64),
    ("contains", 2, 2),
    ("count", 1, 1),
    ("false", 0, 0),
    ("local-name", 0, 1),
    ("normalize-space", 0, 1),
    ("not", 1, 1),
    ("number", 0, 1),
    ("starts-with", 2, 2),
    ("string", 0, 1),
    ("string-length", 0, 1),
    ("true", 0, 0),
];

/// What stands for each of [`FUNCTIONS`], in its order.
const CALLED: [Function; 13] = [
    Function::Boolean,
    Function::Concat,
    Function::Contains,
    Function::Count,
    Function::False,
    Function::LocalName,
    Function::NormalizeSpace,
    Function::Not,
    Function::Number,
    Function::StartsWith,
    Function::String,
    Function::StringLength,
    Function::True,
];

/// How deep a node lies: the document, an instance, a property, the text of a property.
const INSTANCE: u8 = 1;
const PROPERTY: u8 = 2;
const VALUE: u8 = 3;

type Parsed<T> = Result<T, XPathError>;

pub(super) fn parse(text: &str, namespace: &dyn Fn(&str) -> Option<String>) -> Parsed<Expression> {
    if text.len() > OCTETS_MAX {
        return Err(XPathError { position: 1, message: format!("it is longer than {OCTETS_MAX} octets") });
    }
    let mut lexer = Lexer::new(text);
    let token = lexer.next_token()?;
    let mut parser = Parser { lexer, token, namespace, depth: 0, parts: 0 };
    let expression = parser.any(INSTANCE)?;
    if parser.token.kind != TokenKind::End {
        return parser.expected("an operator or the end");
    }
    if COST_MAX < expression.cost(Level::Instance) {
        return Err(XPathError { position: 1, message: "it looks at too many nodes of an instance".to_owned() });
    }
    Ok(expression)
}

struct Parser<'t, 'n> {
    lexer: Lexer<'t>,
    token: Token<'t>,
    namespace: &'n dyn Fn(&str) -> Option<String>,
    depth: u16,
    parts: u16,
}

impl<'t> Parser<'t, '_> {
    fn take(&mut self) -> Parsed<Token<'t>> {
        let next = self.lexer.next_token()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(XPathError { position: self.token.position, message: message.into() })
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        let arithmetic = match &self.token.kind {
            TokenKind::Sign(sign @ ("+" | "-" | "*")) => Some(*sign),
            TokenKind::Name(name @ ("div" | "mod")) => Some(*name),
            _ => None,
        };
        match (arithmetic, &self.token.kind) {
            (Some(sign), _) => self.fail(format!("arithmetic (\"{sign}\") is not served")),
            (None, TokenKind::Sign("|")) => self.fail("unions (\"|\") are not served"),
            (None, kind) => self.fail(format!("expected {what}, found {}", kind.describe())),
        }
    }

    fn at(&self, sign: &str) -> bool {
        matches!(self.token.kind, TokenKind::Sign(known) if known == sign)
    }

    fn eat(&mut self, sign: &str) -> Parsed<bool> {
        let found = self.at(sign);
        if found {
            self.take()?;
        }
        Ok(found)
    }

    fn eat_name(&mut self, name: &str) -> Parsed<bool> {
        let found = matches!(self.token.kind, TokenKind::Name(known) if known == name);
        if found {
            self.take()?;
        }
        Ok(found)
    }

    fn count_part(&mut self) -> Parsed<()> {
        if self.parts >= PARTS_MAX {
            return self.fail(format!("it has more than {PARTS_MAX} parts"));
        }
        self.parts += 1;
        Ok(())
    }

    /// Reads something within parentheses or brackets.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            return self.fail(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        self.depth += 1;
        let read = read(self)?;
        self.depth -= 1;
        Ok(read)
    }

    /// `level` is how deep the context node lies.
    fn any(&mut self, level: u8) -> Parsed<Expression> {
        let first = self.all(level)?;
        let mut parts = vec![first];
        while self.eat_name("or")? {
            parts.push(self.all(level)?);
        }
        Ok(joined(parts, Expression::Any))
    }

    fn all(&mut self, level: u8) -> Parsed<Expression> {
        let mut parts = vec![self.equality(level)?];
        while self.eat_name("and")? {
            parts.push(self.equality(level)?);
        }
        Ok(joined(parts, Expression::All))
    }

    fn equality(&mut self, level: u8) -> Parsed<Expression> {
        let mut left = self.order(level)?;
        loop {
            let operator = match self.token.kind {
                TokenKind::Sign("=") => Operator::Equal,
                TokenKind::Sign("!=") => Operator::NotEqual,
                _ => return Ok(left),
            };
            self.count_part()?;
            self.take()?;
            left = Expression::Compare(operator, Box::new(left), Box::new(self.order(level)?));
        }
    }

    fn order(&mut self, level: u8) -> Parsed<Expression> {
        let mut left = self.operand(level)?;
        loop {
            let operator = match self.token.kind {
                TokenKind::Sign("<") => Operator::Less,
                TokenKind::Sign("<=") => Operator::LessOrEqual,
                TokenKind::Sign(">") => Operator::Greater,
                TokenKind::Sign(">=") => Operator::GreaterOrEqual,
                _ => return Ok(left),
            };
            self.count_part()?;
            self.take()?;
            left = Expression::Compare(operator, Box::new(left), Box::new(self.operand(level)?));
        }
    }

    fn operand(&mut self, level: u8) -> Parsed<Expression> {
        match self.token.kind {
            TokenKind::Text(text) => {
                self.count_part()?;
                self.take()?;
                Ok(Expression::Text(text.to_owned()))
            }
            TokenKind::Number(number) => {
                self.count_part()?;
                self.take()?;
                Ok(Expression::Number(number))
            }
            TokenKind::Sign("-") => {
                self.count_part()?;
                self.take()?;
                let TokenKind::Number(number) = self.token.kind else {
                    return self.fail("arithmetic (\"-\") is not served");
                };
                self.take()?;
                Ok(Expression::Number(-number))
            }
            TokenKind::Sign("(") => {
                self.count_part()?;
                self.take()?;
                let inner = self.nested(|parser| parser.any(level))?;
                if !self.eat(")")? {
                    return self.expected("\")\"");
                }
                if self.at("[") || self.at("/") || self.at("//") {
                    return self.fail("steps and predicates behind parentheses are not served");
                }
                Ok(inner)
            }
            TokenKind::Sign("$") => self.fail("variables are not served"),
            TokenKind::Name(_) => self.named(level),
            TokenKind::Sign("/" | "//" | "." | ".." | "*" | "@") => self.path(level).map(Expression::Path),
            TokenKind::Sign(_) | TokenKind::End => self.expected("a path, a text, a number or a function"),
        }
    }

    /// A call, or a path that begins with a name.
    fn named(&mut self, level: u8) -> Parsed<Expression> {
        let Token { kind: TokenKind::Name(name), position } = self.take()? else {
            return self.expected("a name");
        };
        if !self.at("(") || name == "text" {
            return self.path_from(level, Some((name, position))).map(Expression::Path);
        }
        let known = FUNCTIONS.iter().zip(CALLED).find(|((known, ..), _)| *known == name);
        let Some(((_, least, most), function)) = known else {
            let message = match name {
                "position" | "last" => format!("positions ({name}()) are not served"),
                _ => format!("the function {name}() is not served"),
            };
            return Err(XPathError { position, message });
        };
        self.count_part()?;
        self.take()?;
        let arguments = self.nested(|parser| parser.arguments(level))?;
        if !(*least..=*most).contains(&arguments.len()) {
            return Err(XPathError { position, message: format!("{name}() has {} arguments", arguments.len()) });
        }
        let wants_nodes = matches!(function, Function::Count | Function::LocalName);
        if wants_nodes && !arguments.iter().all(|argument| matches!(argument, Expression::Path(_))) {
            return Err(XPathError { position, message: format!("{name}() takes a path") });
        }
        if self.at("[") || self.at("/") || self.at("//") {
            return self.fail("steps and predicates behind a function are not served");
        }
        Ok(Expression::Call(function, arguments))
    }

    /// The arguments up to the closing parenthesis, which is read.
    fn arguments(&mut self, level: u8) -> Parsed<Vec<Expression>> {
        let mut arguments = Vec::new();
        if self.eat(")")? {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.any(level)?);
            if self.eat(")")? {
                return Ok(arguments);
            }
            if !self.eat(",")? {
                return self.expected("\",\" or \")\"");
            }
        }
    }

    fn path(&mut self, level: u8) -> Parsed<Path> {
        self.path_from(level, None)
    }

    /// A path; `first` is the name of its first step when that was read already.
    fn path_from(&mut self, level: u8, first: Option<(&'t str, u32)>) -> Parsed<Path> {
        let mut path = Path { is_absolute: false, steps: Vec::new() };
        let mut level = level;
        let mut axis = Axis::Child;
        if first.is_none() && (self.at("/") || self.at("//")) {
            path.is_absolute = true;
            level = 0;
            if self.at("//") {
                axis = Axis::Descendant;
            }
            self.take()?;
            let goes_on = matches!(self.token.kind, TokenKind::Name(_) | TokenKind::Sign("." | ".." | "*" | "@"));
            if axis == Axis::Child && !goes_on {
                self.count_part()?;
                return Ok(path);
            }
        }
        let mut named = first;
        loop {
            path.steps.push(self.step(&mut level, axis, named.take())?);
            axis = match self.token.kind {
                TokenKind::Sign("/") => Axis::Child,
                TokenKind::Sign("//") => Axis::Descendant,
                _ => return Ok(path),
            };
            self.take()?;
        }
    }

    fn step(&mut self, level: &mut u8, axis: Axis, named: Option<(&'t str, u32)>) -> Parsed<Step> {
        self.count_part()?;
        let position = named.map_or(self.token.position, |(_, position)| position);
        let (axis, test) = match named {
            Some((name, _)) => self.test(axis, name)?,
            None => match self.token.kind {
                TokenKind::Sign(".") if axis == Axis::Child => {
                    self.take()?;
                    (Axis::Itself, Test::AnyNode)
                }
                TokenKind::Sign("*") => {
                    self.take()?;
                    (axis, Test::AnyElement)
                }
                TokenKind::Name(name) => {
                    self.take()?;
                    self.test(axis, name)?
                }
                TokenKind::Sign("@") => return self.fail("attributes are not served"),
                TokenKind::Sign("." | "..") => return self.fail("steps to parents and to all nodes are not served"),
                _ => return self.expected("the name of an element, \"*\" or \".\""),
            },
        };
        *level = match (axis, &test) {
            (Axis::Itself, _) => *level,
            (_, Test::Text) => VALUE,
            (Axis::Child, _) => level.saturating_add(1),
            (Axis::Descendant, _) => PROPERTY.max(level.saturating_add(1)),
        };
        if *level >= VALUE && test != Test::Text && axis != Axis::Itself {
            let message = "a path ends at a property: what lies within a value is not served".to_owned();
            return Err(XPathError { position, message });
        }
        let mut predicates = Vec::new();
        while self.eat("[")? {
            let position = self.token.position;
            let inner = self.nested(|parser| parser.any(*level))?;
            if inner.is_number() {
                return Err(XPathError { position, message: "positions are not served".to_owned() });
            }
            if !self.eat("]")? {
                return self.expected("\"]\"");
            }
            predicates.push(inner);
        }
        Ok(Step { axis, test, predicates })
    }

    /// What stands behind the first name of a step: an axis, a prefix, `text()`, or nothing.
    fn test(&mut self, axis: Axis, name: &'t str) -> Parsed<(Axis, Test)> {
        if self.eat("::")? {
            let axis = match name {
                "child" => axis,
                "self" if axis == Axis::Child => Axis::Itself,
                "descendant" if axis == Axis::Child => Axis::Descendant,
                other => return self.fail(format!("the axis {other} is not served")),
            };
            if self.eat("*")? {
                return Ok((axis, Test::AnyElement));
            }
            let TokenKind::Name(name) = self.token.kind else {
                return self.expected("the name of an element or \"*\"");
            };
            self.take()?;
            return Ok((axis, self.name_test(name)?));
        }
        Ok((axis, self.name_test(name)?))
    }

    fn name_test(&mut self, name: &'t str) -> Parsed<Test> {
        if self.at("(") {
            if name != "text" {
                return self.fail(format!("the test {name}() is not served"));
            }
            self.take()?;
            return if self.eat(")")? { Ok(Test::Text) } else { self.expected("\")\"") };
        }
        if !self.eat(":")? {
            return Ok(Test::Name { namespace: None, local: name.to_owned() });
        }
        let Some(namespace) = (self.namespace)(name) else {
            return self.fail(format!("the prefix \"{name}\" is not declared"));
        };
        if self.eat("*")? {
            return self.fail("a prefix with \"*\" is not served");
        }
        let TokenKind::Name(local) = self.token.kind else { return self.expected("a name after the prefix") };
        self.take()?;
        Ok(Test::Name { namespace: Some(namespace), local: local.to_owned() })
    }
}

/// One part stands for itself, several are joined.
fn joined(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            join(parts)
        }
    }
}
