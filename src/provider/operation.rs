//! The requests of a provider's API, parsed and checked.

use std::collections::BTreeSet;
use std::time::Duration;

use super::document::DocumentTemplate;
use super::field::Field;
use super::header::{check_content_type, check_text, header_name};
use super::path::PathTemplate;
use super::placeholder::{Piece, Shape, Source, Template, TemplateProblem};
use super::pointer::Pointer;
use crate::api::{self, HttpMethod};
use crate::engine::ports::Invalid;
use crate::http::{HeaderName, Method};
use crate::rotation::answers::Operation as Role;

/// The most headers of one operation.
const MAX_HEADERS: usize = 32;

/// A request, parsed and checked.
pub(super) struct Operation {
    /// What was written, for the digest.
    pub(super) written: api::Operation,
    pub(super) method: Method,
    pub(super) path: PathTemplate,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) document: Option<DocumentTemplate>,
    pub(super) content_type: String,
    success: Vec<u16>,
    missing: Vec<u16>,
    pub(super) settle: Option<Duration>,
}

/// The request that creates a subscription.
pub(super) struct CreateOperation {
    pub(super) request: Operation,
    pub(super) id: Pointer,
}

/// What is checked of each of the four requests.
impl Role {
    pub(super) fn field(self) -> Field {
        Field::new("spec.operations").child(self.as_str())
    }

    fn methods(self) -> &'static [HttpMethod] {
        use HttpMethod::{Delete, Get, Patch, Post, Put};
        match self {
            Self::List => &[Get, Post],
            Self::Create | Self::Update => &[Post, Put, Patch],
            Self::Delete => &[Delete, Post, Put, Patch],
        }
    }

    /// Whether the request has a use for the value.
    fn knows(self, source: &Source) -> bool {
        match source {
            Source::Page => self == Self::List,
            Source::Id => matches!(self, Self::Update | Self::Delete),
            Source::Token | Source::Headers | Source::Header(_) => {
                matches!(self, Self::Create | Self::Update)
            }
            _ => self != Self::List,
        }
    }
}

/// What the check of an operation must know of its provider.
pub(super) struct Context<'a> {
    /// Names of the parameters that subscriptions may set.
    pub(super) parameters: &'a BTreeSet<&'a str>,
    /// Names of the headers that `auth` sends.
    pub(super) auth_headers: &'a [HeaderName],
}

impl Context<'_> {
    fn accept(&self, role: Role, template: &Template, field: &Field) -> Result<(), Invalid> {
        for source in template.sources() {
            if !role.knows(source) {
                return Err(field.invalid(format!("`{source}` is not known in {}", role.as_str())));
            }
            if let Source::Parameter(name) = source
                && !self.parameters.contains(name.as_str())
            {
                return Err(
                    field.invalid(format!("there is no parameter {name:?}; declare it in spec.parameters"))
                );
            }
        }
        Ok(())
    }
}

impl Operation {
    pub(super) fn parse(
        written: &api::Operation,
        role: Role,
        context: &Context<'_>,
    ) -> Result<Self, Invalid> {
        let field = role.field();
        if !role.methods().contains(&written.method) {
            return Err(field
                .child("method")
                .invalid(format!("this method is not used to {}", role.as_str())));
        }
        let path = PathTemplate::parse(&written.path, &field.child("path"))?;
        context.accept(role, path.template(), &field.child("path"))?;

        let document = written.json.as_ref().map(|document| {
            let accept = |template: &Template, field: &Field| context.accept(role, template, field);
            DocumentTemplate::parse(document, &field.child("json"), &accept)
        });
        let document = document.transpose()?;
        if written.method == HttpMethod::Get && document.is_some() {
            return Err(field.child("json").invalid("a GET request sends no document"));
        }
        if let Some(content_type) = &written.content_type {
            let field = field.child("contentType");
            if document.is_none() {
                return Err(field.invalid("there is no document to have a content type"));
            }
            check_content_type(content_type, &field)?;
        }

        refuse_foreign_fields(written, role, &field)?;
        let success = status_codes(&written.success, &field.child("success"), |code| {
            (200..300).contains(&code) || code >= 400
        })?;
        let mut missing = status_codes(&written.missing, &field.child("missing"), |code| code >= 400)?;
        if let Some(both) = missing.iter().find(|code| success.contains(code)) {
            return Err(field.child("missing").invalid(format!("{both} stands in success too")));
        }
        if missing.is_empty() && matches!(role, Role::Update | Role::Delete) {
            missing = [404, 410].into_iter().filter(|code| !success.contains(code)).collect();
        }
        Ok(Self {
            method: method(written.method),
            path,
            headers: parse_headers(written, role, context, &field.child("headers"))?,
            document,
            content_type: written.content_type.clone().unwrap_or_else(|| "application/json".to_owned()),
            success,
            missing,
            settle: written.settle.as_ref().map(api::Duration::to_std),
            written: written.clone(),
        })
    }

    /// Checks the update request, whose document must hold the token.
    pub(super) fn update(written: &api::Operation, context: &Context<'_>) -> Result<Self, Invalid> {
        let request = Self::parse(written, Role::Update, context)?;
        request.check_token(Role::Update)?;
        Ok(request)
    }

    /// Checks the request that deletes.
    pub(super) fn delete(written: &api::Operation, context: &Context<'_>) -> Result<Self, Invalid> {
        Self::parse(written, Role::Delete, context)
    }

    fn check_token(&self, role: Role) -> Result<(), Invalid> {
        let holds = self
            .document
            .as_ref()
            .is_some_and(|document| document.sources().into_iter().any(Source::is_secret));
        if holds {
            return Ok(());
        }
        Err(role.field().child("json").invalid(
            "the token appears nowhere in the document; put {headers}, {headers.NAME} or {token} into it",
        ))
    }

    /// Whether the code is one that the operation takes for success.
    pub(super) fn is_success(&self, code: u16) -> bool {
        if self.success.is_empty() { (200..300).contains(&code) } else { self.success.contains(&code) }
    }

    /// Whether the code means that there is no such subscription.
    pub(super) fn is_missing(&self, code: u16) -> bool {
        self.missing.contains(&code)
    }

    /// Where the values of path, headers and document come from.
    pub(super) fn sources(&self) -> BTreeSet<&Source> {
        let headers = self.headers.iter().flat_map(|(_, value)| value.sources());
        let document = self.document.iter().flat_map(DocumentTemplate::sources);
        self.path.template().sources().chain(headers).chain(document).collect()
    }
}

impl CreateOperation {
    /// Checks the request that creates, whose document must hold the token.
    pub(super) fn parse(written: &api::Operation, context: &Context<'_>) -> Result<Self, Invalid> {
        let field = Role::Create.field().child("capture");
        let request = Operation::parse(written, Role::Create, context)?;
        request.check_token(Role::Create)?;
        if let Some(other) = written.capture.keys().find(|name| *name != "id") {
            return Err(field.child(other).invalid("only `id` can be captured"));
        }
        let Some(id) = written.capture.get("id") else {
            return Err(field.invalid("say where the new id stands in the answer, such as {id: /id}"));
        };
        let id = Pointer::parse(id, &field.child("id"))?;
        Ok(Self { request, id })
    }
}

/// A field that an operation has no use for would be ignored in silence; say so instead.
fn refuse_foreign_fields(written: &api::Operation, role: Role, field: &Field) -> Result<(), Invalid> {
    let updates_or_deletes = matches!(role, Role::Update | Role::Delete);
    for (name, given, belongs) in [
        ("items", written.items.is_some(), role == Role::List),
        ("itemsOptional", written.items_optional.is_some(), role == Role::List),
        ("pagination", written.pagination.is_some(), role == Role::List),
        ("fields", written.fields.is_some(), role == Role::List),
        ("capture", !written.capture.is_empty(), role == Role::Create),
        ("missing", !written.missing.is_empty(), updates_or_deletes),
        ("settle", written.settle.is_some(), role != Role::List),
    ] {
        if given && !belongs {
            return Err(field.child(name).invalid(format!("it has no meaning in {}", role.as_str())));
        }
    }
    Ok(())
}

fn status_codes(given: &[i32], field: &Field, fits: impl Fn(u16) -> bool) -> Result<Vec<u16>, Invalid> {
    given
        .iter()
        .enumerate()
        .map(|(index, code)| {
            u16::try_from(*code).ok().filter(|code| (100..600).contains(code) && fits(*code)).ok_or_else(
                || field.item(index).invalid(format!("{code} is no status code that can stand here")),
            )
        })
        .collect()
}

fn parse_headers(
    written: &api::Operation,
    role: Role,
    context: &Context<'_>,
    field: &Field,
) -> Result<Vec<(HeaderName, Template)>, Invalid> {
    if written.headers.len() > MAX_HEADERS {
        return Err(field.invalid(format!("there are more than {MAX_HEADERS} headers")));
    }
    let mut headers: Vec<(HeaderName, Template)> = Vec::new();
    for (name, value) in &written.headers {
        let field = field.child(name);
        let name = header_name(name, &field)?;
        if name == "content-type" {
            return Err(field.invalid("use contentType of the operation"));
        }
        if context.auth_headers.contains(&name) {
            return Err(field.invalid("spec.auth sends this header already"));
        }
        if headers.iter().any(|(known, _)| *known == name) {
            return Err(field.invalid("the name is given twice, in different cases"));
        }
        let template = Template::parse(value).map_err(|error| field.invalid(error))?;
        context.accept(role, &template, &field)?;
        for piece in template.pieces() {
            match piece {
                Piece::Text(text) => check_text(text, &field)?,
                Piece::Placeholder(placeholder) => {
                    if let shape @ (Shape::Object | Shape::List) = placeholder.shape {
                        return Err(field.invalid(TemplateProblem::Structure(shape)));
                    }
                }
            }
        }
        headers.push((name, template));
    }
    Ok(headers)
}

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    }
}
