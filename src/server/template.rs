//! Templates (1.x): objects whose attributes other objects take over by naming them (spec 1.4, 2.2.6 and 2.1.8).

use std::collections::HashMap;

use super::attributes::is_many;
use super::budget::{MOST_ATTRIBUTES, MOST_LISTED, exceeded, of_object};
use super::context::Context;
use super::engine::Engine;
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
    if wanted.templates.len() > MOST_LISTED {
        let text = format!("at most {MOST_LISTED} templates can be named");
        return Err(exceeded(context.version, text));
    }
    let mut all = Collected::default();
    for name in &wanted.templates {
        let template = find(engine, context, name)?;
        context.meter.charge(of_object(&template))?;
        if let Value::Template(attributes) = &template.value {
            // The template's own name is not the object's.
            let theirs = attributes
                .iter()
                .filter(|value| !matches!(value, AttributeValue::Name(_)));
            theirs.for_each(|value| all.take(value));
        }
    }
    wanted.attributes.iter().for_each(|value| all.take(value));
    if all.attributes.len() > MOST_ATTRIBUTES {
        let text = format!("an object has at most {MOST_ATTRIBUTES} attributes");
        return Err(exceeded(context.version, text));
    }
    Ok(all.attributes.0.into_iter().map(|a| a.value).collect())
}

/// Attributes of several sources. Of what can stand once only the last stands.
#[derive(Default)]
struct Collected {
    attributes: Attributes,
    places: HashMap<AttributeName, usize>,
}

impl Collected {
    fn take(&mut self, value: &AttributeValue) {
        let name = value.name();
        if is_many(&name) {
            return self.attributes.0.push(value.clone().into());
        }
        match self.places.get(&name) {
            Some(at) => self.attributes.0[*at].value = value.clone(),
            None => {
                self.places.insert(name, self.attributes.len());
                self.attributes.0.push(value.clone().into());
            }
        }
    }
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
    match engine.objects.find(&context.caller, search)?.uids.first() {
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
