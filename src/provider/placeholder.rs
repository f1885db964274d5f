//! The placeholder language: `{name.path|filter(arguments)}` and nothing more.
//!
//! There are no operators, statements or calls. `{{` is a brace; a closing brace outside of a
//! placeholder is itself. A text is parsed once into a [`Template`] in which every placeholder has
//! a known shape, so that nothing but running out of room can go wrong when it is rendered. What an
//! author writes costs bounded time: texts, placeholders and filters are counted, and no filter
//! repeats or looks anything up.

use std::fmt;

use thiserror::Error;

/// The most bytes one text with placeholders may have.
pub const MAX_TEMPLATE: usize = 4096;
/// The most placeholders in one text.
pub const MAX_PLACEHOLDERS: usize = 32;
/// The most filters of one placeholder.
pub const MAX_FILTERS: usize = 4;

const NAMES: &str = "id, action, postbackUrl, active, headers, parameters, token, page";
const FILTERS: &str = "choose(a,b), base64, json, pairs(key,value)";

/// A text with placeholders, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A part of a text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that stands for itself.
    Text(String),
    /// A place for a value.
    Placeholder(Placeholder),
}

/// A place for a value: where it comes from and what is done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder {
    /// Where the value comes from.
    pub source: Source,
    /// What is done to it, in this order.
    pub filters: Vec<Filter>,
    /// What comes out.
    pub shape: Shape,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The provider's id of the subscription.
    Id,
    /// `spec.action`.
    Action,
    /// `spec.postbackUrl`.
    PostbackUrl,
    /// `spec.active`.
    Active,
    /// All client headers.
    Headers,
    /// One client header, by its name without regard to case.
    Header(String),
    /// All parameters.
    Parameters,
    /// One parameter.
    Parameter(String),
    /// The current token.
    Token,
    /// The number of the page to list, from 1.
    Page,
}

impl Source {
    fn shape(&self) -> Shape {
        match self {
            Self::Active => Shape::Boolean,
            Self::Page => Shape::Number,
            Self::Headers | Self::Parameters => Shape::Object,
            _ => Shape::Text,
        }
    }

    /// Whether the value may be a token or come from a Secret.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Token | Self::Headers | Self::Header(_))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => formatter.write_str("id"),
            Self::Action => formatter.write_str("action"),
            Self::PostbackUrl => formatter.write_str("postbackUrl"),
            Self::Active => formatter.write_str("active"),
            Self::Headers => formatter.write_str("headers"),
            Self::Header(name) => write!(formatter, "headers.{name}"),
            Self::Parameters => formatter.write_str("parameters"),
            Self::Parameter(name) => write!(formatter, "parameters.{name}"),
            Self::Token => formatter.write_str("token"),
            Self::Page => formatter.write_str("page"),
        }
    }
}

/// What is done to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// One of two texts, for true and for false.
    Choose {
        /// The text for true.
        yes: String,
        /// The text for false.
        no: String,
    },
    /// Base64 with padding (RFC 4648, section 4).
    Base64,
    /// JSON inside of a string.
    Json,
    /// An object as a list of objects with two members each.
    Pairs {
        /// The member that has the key.
        key: String,
        /// The member that has the value.
        value: String,
    },
}

impl Filter {
    fn name(&self) -> &'static str {
        match self {
            Self::Choose { .. } => "choose",
            Self::Base64 => "base64",
            Self::Json => "json",
            Self::Pairs { .. } => "pairs",
        }
    }

    /// What it takes (`None`: anything) and what it makes.
    fn shapes(&self) -> (Option<Shape>, Shape) {
        match self {
            Self::Choose { .. } => (Some(Shape::Boolean), Shape::Text),
            Self::Base64 => (Some(Shape::Text), Shape::Text),
            Self::Json => (None, Shape::Text),
            Self::Pairs { .. } => (Some(Shape::Object), Shape::List),
        }
    }
}

/// The shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A text.
    Text,
    /// True or false.
    Boolean,
    /// A whole number.
    Number,
    /// Members with names.
    Object,
    /// Values in a row.
    List,
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text => "a text",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::Object => "an object",
            Self::List => "a list",
        })
    }
}

/// Why a text with placeholders cannot be used, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{problem} (at character {at})")]
pub struct TemplateError {
    /// The character at which the trouble starts, counted from 1.
    pub at: usize,
    /// What is wrong.
    pub problem: TemplateProblem,
}

/// What is wrong with a text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateProblem {
    /// The text is longer than [`MAX_TEMPLATE`].
    #[error("the text is longer than {MAX_TEMPLATE} bytes")]
    TooLong,
    /// There are more placeholders than [`MAX_PLACEHOLDERS`].
    #[error("there are more than {MAX_PLACEHOLDERS} placeholders")]
    TooManyPlaceholders,
    /// There are more filters than [`MAX_FILTERS`].
    #[error("there are more than {MAX_FILTERS} filters")]
    TooManyFilters,
    /// An opening brace without a closing one.
    #[error("the placeholder has no closing brace; write {{{{ for a brace that is meant as text")]
    Unclosed,
    /// A brace inside a placeholder.
    #[error("a placeholder cannot hold another brace; write {{{{ for a brace that is meant as text")]
    Nested,
    /// No such name.
    #[error("`{0}` is no known name; known are {NAMES}")]
    UnknownName(String),
    /// The name has nothing inside.
    #[error("`{0}` has no parts; leave out what follows the dot")]
    NoParts(String),
    /// A dot and nothing after it.
    #[error("the name of the part is missing after the dot")]
    EmptyPart,
    /// No such filter.
    #[error("`{0}` is no known filter; known are {FILTERS}")]
    UnknownFilter(String),
    /// The arguments of a filter are not those that it takes.
    #[error("`{0}` has the wrong arguments; write {1}")]
    Arguments(&'static str, &'static str),
    /// A filter was given a value that it has no use for.
    #[error("the filter `{filter}` takes {takes}, not {given}")]
    Shape {
        /// Name of the filter.
        filter: &'static str,
        /// What it takes.
        takes: Shape,
        /// What stands before it.
        given: Shape,
    },
    /// An object or a list inside of a text.
    #[error("{0} cannot stand inside a text; make the placeholder all of the text, or add |json")]
    Structure(Shape),
}

impl TemplateProblem {
    fn at(self, at: usize) -> TemplateError {
        TemplateError { at, problem: self }
    }
}

impl Template {
    /// Parses a text.
    ///
    /// ```
    /// use hookkeeper::provider::Template;
    ///
    /// assert!(Template::parse("{active|choose(active,inactive)}").is_ok());
    /// let error = Template::parse("Bearer {tokn}").unwrap_err();
    /// assert_eq!(error.at, 8);
    /// ```
    ///
    /// # Errors
    /// Where and why the text is not of the language.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateProblem::TooLong.at(1));
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut placeholders = 0;
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, after) = rest.split_at(open);
            literal.push_str(before);
            let after = &after[1..];
            if let Some(after) = after.strip_prefix('{') {
                literal.push('{');
                rest = after;
                continue;
            }
            let at = characters(text, after);
            let close = after.find('}').ok_or_else(|| TemplateProblem::Unclosed.at(at))?;
            placeholders += 1;
            if placeholders > MAX_PLACEHOLDERS {
                return Err(TemplateProblem::TooManyPlaceholders.at(at));
            }
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Placeholder(parse_placeholder(&after[..close], at)?));
            rest = &after[close + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        let template = Self { pieces };
        template.check_structures()?;
        Ok(template)
    }

    /// The parts, in order; neighbouring texts are one part.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Where the values come from.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Placeholder(placeholder) => Some(&placeholder.source),
        })
    }

    fn check_structures(&self) -> Result<(), TemplateError> {
        if self.pieces.len() < 2 {
            return Ok(());
        }
        for piece in &self.pieces {
            if let Piece::Placeholder(Placeholder { shape: shape @ (Shape::Object | Shape::List), .. }) =
                piece
            {
                return Err(TemplateProblem::Structure(*shape).at(1));
            }
        }
        Ok(())
    }
}

/// The number of the character that stands before `rest`, a tail of `text`, counted from 1.
fn characters(text: &str, rest: &str) -> usize {
    text[..text.len() - rest.len()].chars().count()
}

/// Parses what stands between the braces; `at` is the position of the opening one.
fn parse_placeholder(inner: &str, at: usize) -> Result<Placeholder, TemplateError> {
    if inner.contains('{') {
        return Err(TemplateProblem::Nested.at(at));
    }
    let mut parts = inner.split('|');
    let name = parts.next().unwrap_or_default();
    let source = parse_source(name).map_err(|problem| problem.at(at))?;
    let mut shape = source.shape();
    let mut filters = Vec::new();
    let mut after = at + 1 + name.chars().count();
    for part in parts {
        let at = after + 1;
        after = at + part.chars().count();
        if filters.len() == MAX_FILTERS {
            return Err(TemplateProblem::TooManyFilters.at(at));
        }
        let filter = parse_filter(part).map_err(|problem| problem.at(at))?;
        let (takes, makes) = filter.shapes();
        if let Some(takes) = takes.filter(|takes| *takes != shape) {
            let filter = filter.name();
            return Err(TemplateProblem::Shape { filter, takes, given: shape }.at(at));
        }
        shape = makes;
        filters.push(filter);
    }
    Ok(Placeholder { source, filters, shape })
}

fn parse_source(text: &str) -> Result<Source, TemplateProblem> {
    let (name, part) = match text.split_once('.') {
        Some((_, "")) => return Err(TemplateProblem::EmptyPart),
        Some((name, part)) => (name, Some(part)),
        None => (text, None),
    };
    let whole = match name {
        "id" => Source::Id,
        "action" => Source::Action,
        "postbackUrl" => Source::PostbackUrl,
        "active" => Source::Active,
        "headers" => Source::Headers,
        "parameters" => Source::Parameters,
        "token" => Source::Token,
        "page" => Source::Page,
        _ => return Err(TemplateProblem::UnknownName(shortened(text))),
    };
    match (whole, part) {
        (whole, None) => Ok(whole),
        // All that follows the first dot is one name: those of headers may have dots themselves.
        (Source::Headers, Some(part)) => Ok(Source::Header(part.to_owned())),
        (Source::Parameters, Some(part)) => Ok(Source::Parameter(part.to_owned())),
        (_, Some(_)) => Err(TemplateProblem::NoParts(name.to_owned())),
    }
}

fn parse_filter(text: &str) -> Result<Filter, TemplateProblem> {
    let (name, arguments) = match text.split_once('(') {
        None => (text, None),
        Some((name, rest)) => (name, Some(rest.strip_suffix(')').unwrap_or("("))),
    };
    let plain = |filter, usage| match arguments {
        None => Ok(filter),
        Some(_) => Err(TemplateProblem::Arguments(usage, usage)),
    };
    let two =
        |filter, usage| arguments.and_then(two_arguments).ok_or(TemplateProblem::Arguments(filter, usage));
    match name {
        "base64" => plain(Filter::Base64, "base64"),
        "json" => plain(Filter::Json, "json"),
        "choose" => {
            let (yes, no) = two("choose", "choose(TEXT_FOR_TRUE,TEXT_FOR_FALSE), without blanks around")?;
            Ok(Filter::Choose { yes, no })
        }
        "pairs" => {
            let usage = "pairs(NAME_OF_KEY,NAME_OF_VALUE), two different names, without blanks around";
            let (key, value) = two("pairs", usage)?;
            if key == value || key.is_empty() || value.is_empty() {
                return Err(TemplateProblem::Arguments("pairs", usage));
            }
            Ok(Filter::Pairs { key, value })
        }
        _ => Err(TemplateProblem::UnknownFilter(shortened(name))),
    }
}

fn two_arguments(text: &str) -> Option<(String, String)> {
    let (first, second) = text.split_once(',')?;
    let usable = |argument: &str| {
        argument.trim() == argument
            && !argument.contains(|c: char| matches!(c, ',' | '(' | ')') || c.is_control())
    };
    (usable(first) && usable(second)).then(|| (first.to_owned(), second.to_owned()))
}

/// Enough of what the author wrote to find it again.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
