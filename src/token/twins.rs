//! Twins: objects of one request that a server executed more than once, because it was sent again
//! after a silence and executed late, too.
//!
//! Every process hides the same ones, by what the server keeps of them. The caller of the request
//! got the object that was then activated, so a key that carries a nonce and is Pre-Active was not
//! returned to a caller: its request is not finished or failed. Of several that remain the first is
//! shown, in the order of Initial Date and identifier. Nothing is destroyed here: a twin may have
//! encrypted something.

use std::collections::HashMap;
use std::sync::Arc;

use super::object::{Home, Object};
use crate::store::State;

/// The objects without twins of others, in the order given.
pub(super) fn hidden(objects: Vec<Arc<Object>>) -> Vec<Arc<Object>> {
    let mut shown: Vec<Arc<Object>> = objects.into_iter().filter(|o| !is_unfinished(o)).collect();
    if shown.len() < 2 {
        return shown;
    }
    let mut first = HashMap::new();
    for object in &shown {
        if let Some((family, order)) = family(object) {
            let kept = first.entry(family).or_insert_with(|| order.clone());
            if order < *kept {
                *kept = order;
            }
        }
    }
    shown.retain(|object| {
        family(object).is_none_or(|(family, order)| first.get(&family) == Some(&order))
    });
    shown
}

fn is_unfinished(object: &Object) -> bool {
    matches!(
        &object.home,
        Home::Store {
            state: Some(State::PreActive),
            birth: Some(_),
            ..
        }
    )
}

/// What twins have in common, and their order.
fn family(object: &Object) -> Option<((u64, String), (i64, String))> {
    match &object.home {
        Home::Store {
            uid,
            birth: Some(birth),
            ..
        } => Some((
            (object.attributes.class(), birth.nonce.clone()),
            (birth.date.unwrap_or(i64::MAX), uid.0.clone()),
        )),
        _ => None,
    }
}
