//! Templates (1.x): objects whose attributes other objects take over by naming them (spec 1.4, 2.2.6 and 2.1.8).

use super::attributes::is_many;
use super::engine::{Context, Engine};
use super::objects::{Object, Outcome, Refusal, Search, Value};
use crate::kmip::*;

/// The attributes that a request gives: those of the templates that it names, then its own, which win.
pub fn given(
    engine: &Engine,
    context: &Context,
    wanted: Option<TemplateAttribute>,
) -> Outcome<Attributes> {
    let wanted = wanted.unwrap_or_default();
    if wanted.templates.is_empty() {
        return Ok(wanted.attributes);
    }
    let mut all = Attributes::new();
    for name in &wanted.templates {
        let template = find(engine, context, name)?;
        if let Value::Template(attributes) = &template.value {
            // The template's own name is not the object's.
            let theirs = attributes
                .iter()
                .filter(|value| !matches!(value, AttributeValue::Name(_)));
            theirs.for_each(|value| take(&mut all, value));
        }
    }
    wanted
        .attributes
        .iter()
        .for_each(|value| take(&mut all, value));
    Ok(all)
}

fn take(all: &mut Attributes, value: &AttributeValue) {
    let name = value.name();
    if !is_many(&name) {
        all.0.retain(|other| other.value.name() != name);
    }
    all.push(value.clone());
}

fn find(engine: &Engine, context: &Context, name: &Name) -> Outcome<std::sync::Arc<Object>> {
    let exact = vec![
        AttributeValue::ObjectType(ObjectType::TEMPLATE),
        AttributeValue::Name(name.clone()),
    ];
    let search = Search {
        exact,
        most: 1,
        ..Search::default()
    };
    match engine.objects.find(&context.caller, search)?.1.first() {
        Some(uid) => context.object(engine, uid),
        None => Err(Refusal::item(
            ResultReason::ITEM_NOT_FOUND,
            format!("there is no template '{}'", name.name_value),
        )),
    }
}

/// A template as it is registered. Its names may stand in its content: it is found by them all the same.
pub fn registered(content: &Attributes, own: &mut Attributes) -> Value {
    let names: Vec<_> = content
        .iter()
        .filter(|value| matches!(value, AttributeValue::Name(_)))
        .cloned()
        .collect();
    for name in names {
        if !own.iter().any(|other| *other == name) {
            own.push(name);
        }
    }
    Value::Template(content.clone())
}
