//! The language itself: what is read and what is refused, and where.

use proptest::prelude::*;

use crate::provider::*;

fn only(text: &str) -> Placeholder {
    match Template::parse(text).unwrap().pieces() {
        [Piece::Placeholder(placeholder)] => placeholder.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_placeholder_has_a_source_filters_and_a_shape() {
    for (text, source, filters, shape) in [
        ("{id}", Source::Id, vec![], Shape::Text),
        ("{headers}", Source::Headers, vec![], Shape::Object),
        ("{headers.X.Y}", Source::Header("X.Y".into()), vec![], Shape::Text),
        ("{parameters.a}", Source::Parameter("a".into()), vec![], Shape::Text),
        ("{page|json}", Source::Page, vec![Filter::Json], Shape::Text),
        (
            "{active|choose(on,)}",
            Source::Active,
            vec![Filter::Choose { yes: "on".into(), no: String::new() }],
            Shape::Text,
        ),
        (
            "{headers|pairs(key,value)|json|base64}",
            Source::Headers,
            vec![Filter::Pairs { key: "key".into(), value: "value".into() }, Filter::Json, Filter::Base64],
            Shape::Text,
        ),
    ] {
        assert_eq!(only(text), Placeholder { source, filters, shape }, "{text}");
    }
}

#[test]
fn two_opening_braces_are_one_and_a_closing_one_is_itself() {
    let template = Template::parse("{{{token}}{{}}").unwrap();
    let [Piece::Text(before), Piece::Placeholder(_), Piece::Text(after)] = template.pieces() else {
        panic!("{template:?}");
    };
    assert_eq!((before.as_str(), after.as_str()), ("{", "}{}}"));
}

#[test]
fn an_error_says_what_and_where() {
    let long = "a".repeat(MAX_TEMPLATE + 1);
    let many = "{id}".repeat(MAX_PLACEHOLDERS + 1);
    for (text, at, problem) in [
        ("é {tokn}", 3, TemplateProblem::UnknownName("tokn".into())),
        ("{}", 1, TemplateProblem::UnknownName(String::new())),
        ("{ token }", 1, TemplateProblem::UnknownName(" token ".into())),
        ("{token", 1, TemplateProblem::Unclosed),
        ("{a{b}", 1, TemplateProblem::Nested),
        ("{token.x}", 1, TemplateProblem::NoParts("token".into())),
        ("{headers.}", 1, TemplateProblem::EmptyPart),
        ("{token|base65}", 8, TemplateProblem::UnknownFilter("base65".into())),
        ("{token|json()}", 8, TemplateProblem::Arguments("json", "json")),
        (
            "{token|json|choose(a,b)}",
            13,
            TemplateProblem::Shape { filter: "choose", takes: Shape::Boolean, given: Shape::Text },
        ),
        ("a {headers}", 1, TemplateProblem::Structure(Shape::Object)),
        ("{token|json|json|json|json|json}", 28, TemplateProblem::TooManyFilters),
        (&long, 1, TemplateProblem::TooLong),
        (&many, 4 * MAX_PLACEHOLDERS + 1, TemplateProblem::TooManyPlaceholders),
    ] {
        assert_eq!(Template::parse(text), Err(TemplateError { at, problem }), "{text}");
    }
    for text in [
        "{active|choose}",
        "{active|choose(a)}",
        "{active|choose(a,b,c)}",
        "{active|choose(a, b)}",
        "{active|choose(a,b}",
        "{active|choose((a,b)}",
        "{headers|pairs(a,a)}",
        "{headers|pairs(,a)}",
    ] {
        let error = Template::parse(text).unwrap_err();
        assert!(matches!(error.problem, TemplateProblem::Arguments(..)), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "(?s).{0,64}") {
        let _ = Template::parse(&text);
    }

    #[test]
    fn any_text_near_the_language_is_parsed_or_refused(
        text in r"(\{|\}|\||\(|\)|,|\.|é|token|headers|active|json|pairs|choose|x){0,24}"
    ) {
        if let Err(error) = Template::parse(&text) {
            prop_assert!(error.at >= 1 && error.at <= text.chars().count().max(1));
        }
    }

    #[test]
    fn a_text_with_its_braces_doubled_is_itself(text in "(?s).{0,64}") {
        let template = Template::parse(&text.replace('{', "{{")).unwrap();
        let whole: String = template.pieces().iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Placeholder(_) => "?",
        }).collect();
        prop_assert_eq!(whole, text);
    }
}
