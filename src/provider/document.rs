//! A JSON document with placeholders in its leaves.
//!
//! The document is walked leaf by leaf and written by a JSON serialiser, so a value can never break
//! out of its place, whatever it holds.

use super::buffer::{SecretBuffer, TooLarge};
use super::field::Field;
use super::placeholder::{Source, Template};
use super::render::Scope;
use crate::engine::ports::Invalid;
use crate::secret::SecretText;

/// The most values, objects and lists in one document.
const MAX_NODES: usize = 1000;
/// How deep objects and lists may be nested.
const MAX_DEPTH: usize = 32;

/// A JSON document with placeholders in its leaves, parsed.
#[derive(Clone, Debug)]
pub(super) struct DocumentTemplate(Node);

#[derive(Clone, Debug)]
enum Node {
    /// A number, a boolean or null: nothing to fill in.
    Fixed(serde_json::Value),
    Text(Template),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl DocumentTemplate {
    /// Parses a document, an object or a list. `accept` judges each leaf's placeholders.
    ///
    /// # Errors
    /// The first leaf that cannot be used, by its path below `field`.
    pub(super) fn parse(
        document: &serde_json::Value,
        field: &Field,
        accept: &dyn Fn(&Template, &Field) -> Result<(), Invalid>,
    ) -> Result<Self, Invalid> {
        if !document.is_object() && !document.is_array() {
            return Err(field.invalid("the document must be an object or a list"));
        }
        let mut room = MAX_NODES;
        parse(document, field, 1, &mut room, accept).map(Self)
    }

    /// Fills the document in. A member or item whose leaf needs something absent is left out.
    pub(super) fn render(&self, scope: &Scope<'_>) -> Result<SecretText, TooLarge> {
        let mut buffer = SecretBuffer::new();
        self.0.write(scope, &mut buffer)?;
        Ok(buffer.finish())
    }

    /// Where the values come from.
    pub(super) fn sources(&self) -> Vec<&Source> {
        let mut sources = Vec::new();
        self.0.visit(&mut |template| sources.extend(template.sources()));
        sources
    }

    /// Whether a leaf exists that is sent and holds the token.
    pub(super) fn holds_token(
        &self,
        is_present: &dyn Fn(&Source) -> bool,
        is_token: &dyn Fn(&Source) -> bool,
    ) -> bool {
        let mut found = false;
        self.0.visit(&mut |template| {
            found |= template.sources().any(is_token) && template.sources().all(is_present);
        });
        found
    }
}

fn parse(
    document: &serde_json::Value,
    field: &Field,
    depth: usize,
    room: &mut usize,
    accept: &dyn Fn(&Template, &Field) -> Result<(), Invalid>,
) -> Result<Node, Invalid> {
    if depth > MAX_DEPTH {
        return Err(field.invalid(format!("the document is nested deeper than {MAX_DEPTH} levels")));
    }
    *room = room
        .checked_sub(1)
        .ok_or_else(|| field.invalid(format!("the document has more than {MAX_NODES} values")))?;
    match document {
        serde_json::Value::String(text) => {
            let template = Template::parse(text).map_err(|error| field.invalid(error))?;
            accept(&template, field)?;
            Ok(Node::Text(template))
        }
        serde_json::Value::Array(items) => {
            let items = items
                .iter()
                .enumerate()
                .map(|(index, item)| parse(item, &field.item(index), depth + 1, room, accept));
            items.collect::<Result<_, _>>().map(Node::List)
        }
        serde_json::Value::Object(members) => {
            let members = members.iter().map(|(name, member)| {
                let field = field.child(name);
                // Sent as written, it would be a placeholder that somebody waits for in vain.
                if name.contains('{') {
                    return Err(field.invalid("names of members cannot hold placeholders or braces"));
                }
                Ok((name.clone(), parse(member, &field, depth + 1, room, accept)?))
            });
            members.collect::<Result<_, _>>().map(Node::Object)
        }
        fixed => Ok(Node::Fixed(fixed.clone())),
    }
}

impl Node {
    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(&'a Template)) {
        match self {
            Self::Fixed(_) => {}
            Self::Text(template) => visitor(template),
            Self::List(items) => items.iter().for_each(|item| item.visit(visitor)),
            Self::Object(members) => members.iter().for_each(|(_, node)| node.visit(visitor)),
        }
    }

    fn is_present(&self, scope: &Scope<'_>) -> bool {
        match self {
            Self::Text(template) => scope.has_all_of(template),
            _ => true,
        }
    }

    fn write(&self, scope: &Scope<'_>, buffer: &mut SecretBuffer) -> Result<(), TooLarge> {
        match self {
            Self::Fixed(value) => buffer.json(value),
            Self::Text(template) => match template.evaluate(scope)? {
                Some(value) => buffer.json(&value),
                // Left out by the object or list around it; every leaf has one.
                None => Ok(()),
            },
            Self::List(items) => {
                buffer.text("[")?;
                let present = items.iter().filter(|item| item.is_present(scope));
                for (index, item) in present.enumerate() {
                    if index > 0 {
                        buffer.text(",")?;
                    }
                    item.write(scope, buffer)?;
                }
                buffer.text("]")
            }
            Self::Object(members) => {
                buffer.text("{")?;
                let present = members.iter().filter(|(_, node)| node.is_present(scope));
                for (index, (name, node)) in present.enumerate() {
                    if index > 0 {
                        buffer.text(",")?;
                    }
                    buffer.json(name)?;
                    buffer.text(":")?;
                    node.write(scope, buffer)?;
                }
                buffer.text("}")
            }
        }
    }
}
