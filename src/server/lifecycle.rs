//! Operations on the life of an object, from Activate to Destroy.

use super::context::Context;
use super::engine::Engine;
use super::life::wrong_state;
use super::objects::{Object, Outcome, Refusal, Value, now, reason};
use crate::kmip::*;
use crate::ttlv::{DateTime, Interval};
use crate::version::Version;

/// How long a lease lasts, in seconds.
pub const LEASE: u32 = 3600;

/// Changes the object that a request names, in one transaction.
pub fn change<T>(
    engine: &Engine,
    context: &mut Context,
    uid: Option<UniqueIdentifier>,
    change: impl Fn(&Context, &mut Object) -> Outcome<T>,
) -> Outcome<(String, T)> {
    let object = engine.resolve(context, uid)?;
    let result = context.change(engine, |transaction| {
        let mut object = transaction.get(&object.uid)?;
        let result = change(context, &mut object)?;
        transaction.put_changed(object)?;
        Ok(result)
    })?;
    Ok((context.about(&object), result))
}

/// Answers Activate.
pub fn activate(
    engine: &Engine,
    context: &mut Context,
    request: ActivateRequest,
) -> Outcome<ActivateResponse> {
    let version = context.version;
    let (unique_identifier, ()) =
        change(engine, context, request.unique_identifier, |_, object| {
            if !object.has_state() || object.state() != State::PRE_ACTIVE {
                return Err(wrong_state(version, "the object is not Pre-Active"));
            }
            object.dates.activation = Some(now());
            Ok(())
        })?;
    Ok(ActivateResponse { unique_identifier })
}

/// Answers Revoke.
pub fn revoke(
    engine: &Engine,
    context: &mut Context,
    request: RevokeRequest,
) -> Outcome<RevokeResponse> {
    let version = context.version;
    let code = request.revocation_reason.revocation_reason_code;
    let compromise = matches!(
        code,
        RevocationReasonCode::KEY_COMPROMISE | RevocationReasonCode::CA_COMPROMISE
    );
    let occurrence = request.compromise_occurrence_date.map(|date| date.0);
    let revocation_reason = request.revocation_reason;
    let (unique_identifier, ()) =
        change(engine, context, request.unique_identifier, |_, object| {
            match (object.state(), compromise) {
                (State::DESTROYED | State::DESTROYED_COMPROMISED, _) => {
                    return Err(wrong_state(version, "the object is destroyed"));
                }
                (_, true) => {
                    // Without a date it is the Initial Date (spec 1.4, 4.20).
                    let occurred = occurrence.unwrap_or(object.dates.initial);
                    object.dates.compromise = Some(now());
                    object.dates.compromise_occurrence = Some(occurred);
                }
                (State::ACTIVE, false) => object.dates.deactivation = Some(now()),
                (state, false) => {
                    let reason = reason(
                        version,
                        ResultReason::ILLEGAL_OPERATION,
                        ResultReason::WRONG_KEY_LIFECYCLE_STATE,
                    );
                    return Err(Refusal::item(
                        reason,
                        format!("the object is {state}, not Active"),
                    ));
                }
            }
            object.revocation_reason = Some(revocation_reason.clone());
            Ok(())
        })?;
    Ok(RevokeResponse { unique_identifier })
}

/// Answers Destroy.
pub fn destroy(
    engine: &Engine,
    context: &mut Context,
    request: DestroyRequest,
) -> Outcome<DestroyResponse> {
    let version = context.version;
    let object = engine.resolve(context, request.unique_identifier)?;
    context.change(engine, |transaction| {
        let mut object = transaction.get(&object.uid)?;
        let state = object.state();
        if object.has_state()
            && matches!(
                state,
                State::ACTIVE | State::DESTROYED | State::DESTROYED_COMPROMISED
            )
        {
            return Err(wrong_state(version, format!("the object is {state}")));
        }
        if engine.personality.forgets_destroyed {
            transaction.remove(&object);
            return Ok(());
        }
        object.dates.destroy = Some(now());
        // The digest of what is gone stays.
        object.attributes.0.extend(
            object
                .digest(Version::V2_1)
                .map(|digest| AttributeValue::Digest(digest).into()),
        );
        object.value = Value::Gone;
        object.registered = None;
        transaction.put_changed(object)
    })?;
    context.placeholder = None;
    Ok(DestroyResponse {
        unique_identifier: object.uid.clone(),
    })
}

/// Answers Archive: the object is marked; it stays where it is.
pub fn archive(
    engine: &Engine,
    context: &mut Context,
    request: ArchiveRequest,
) -> Outcome<ArchiveResponse> {
    let (unique_identifier, ()) =
        change(engine, context, request.unique_identifier, |_, object| {
            object.dates.archive = Some(now());
            Ok(())
        })?;
    Ok(ArchiveResponse { unique_identifier })
}

/// Answers Recover.
pub fn recover(
    engine: &Engine,
    context: &mut Context,
    request: RecoverRequest,
) -> Outcome<RecoverResponse> {
    let (unique_identifier, ()) =
        change(engine, context, request.unique_identifier, |_, object| {
            object.dates.archive = None;
            Ok(())
        })?;
    Ok(RecoverResponse { unique_identifier })
}

/// Answers Check: what of the request is not allowed comes back.
pub fn check(
    engine: &Engine,
    context: &mut Context,
    request: CheckRequest,
) -> Outcome<CheckResponse> {
    let object = engine.resolve(context, request.unique_identifier)?;
    let mut answer = CheckResponse {
        unique_identifier: context.about(&object),
        ..CheckResponse::default()
    };
    if let Some(Err(refusal)) = request
        .cryptographic_usage_mask
        .map(|mask| object.allow(context.version, mask))
    {
        // 2.x has a reason for it; before, the answer says what is allowed.
        if context.version.typed_attributes() {
            return Err(refusal);
        }
        answer.cryptographic_usage_mask = Some(object.usage());
    }
    let left = object
        .attributes
        .usage_limits()
        .and_then(|limits| limits.usage_limits_count);
    if let (Some(wanted), Some(left)) = (request.usage_limits_count, left)
        && wanted > left
    {
        answer.usage_limits_count = Some(left);
    }
    if request.lease_time.is_some_and(|wanted| wanted.0 > LEASE) {
        answer.lease_time = Some(Interval(LEASE));
    }
    Ok(answer)
}

/// Answers Obtain Lease. A lease ends by itself: nothing is kept of it.
pub fn obtain_lease(
    engine: &Engine,
    context: &mut Context,
    request: ObtainLeaseRequest,
) -> Outcome<ObtainLeaseResponse> {
    let object = engine.resolve(context, request.unique_identifier)?;
    let state = object.state();
    if object.has_state()
        && matches!(
            state,
            State::COMPROMISED | State::DESTROYED | State::DESTROYED_COMPROMISED
        )
    {
        return Err(wrong_state(
            context.version,
            format!("the object is {state}: nobody shall use it"),
        ));
    }
    Ok(ObtainLeaseResponse {
        unique_identifier: context.about(&object),
        lease_time: Interval(LEASE),
        last_change_date: DateTime(object.dates.last_change),
    })
}

/// Answers Get Usage Allocation: takes from what Usage Limits leave.
pub fn get_usage_allocation(
    engine: &Engine,
    context: &mut Context,
    request: GetUsageAllocationRequest,
) -> Outcome<GetUsageAllocationResponse> {
    let object = engine.resolve(context, request.unique_identifier)?;
    if object.attributes.usage_limits().is_none() {
        let reason = reason(
            context.version,
            ResultReason::ILLEGAL_OPERATION,
            ResultReason::ATTRIBUTE_NOT_FOUND,
        );
        return Err(Refusal::item(reason, "the object has no Usage Limits"));
    }
    use_up(engine, context, &object.uid, request.usage_limits_count)?;
    Ok(GetUsageAllocationResponse {
        unique_identifier: context.about(&object),
    })
}

/// The Usage Limits among attributes.
pub fn limits_of(attributes: &mut Attributes) -> Option<&mut UsageLimits> {
    attributes
        .0
        .iter_mut()
        .find_map(|attribute| match &mut attribute.value {
            AttributeValue::UsageLimits(limits) => Some(limits),
            _ => None,
        })
}

/// What Usage Limits leave.
pub fn left_of(limits: &UsageLimits) -> i64 {
    limits
        .usage_limits_count
        .unwrap_or(limits.usage_limits_total)
}

fn take(version: Version, limits: &mut UsageLimits, wanted: i64) -> Outcome<()> {
    let left = left_of(limits);
    if wanted < 0 || wanted > left {
        let reason = reason(
            version,
            ResultReason::PERMISSION_DENIED,
            ResultReason::USAGE_LIMIT_EXCEEDED,
        );
        return Err(Refusal::item(reason, format!("Usage Limits leave {left}")));
    }
    limits.usage_limits_count = Some(left - wanted);
    Ok(())
}

/// Counts the use of a key that protects data here (spec 1.4, 3.21): `bytes`, or one object where one `begins`. Keys without
/// Usage Limits cost nothing.
pub fn spend(
    engine: &Engine,
    context: &Context,
    object: &Object,
    bytes: usize,
    begins: bool,
) -> Outcome<()> {
    let Some(limits) = object.attributes.usage_limits() else {
        return Ok(());
    };
    let wanted = match limits.usage_limits_unit {
        UsageLimitsUnit::BYTE => bytes as i64,
        _ => i64::from(begins),
    };
    use_up(engine, context, &object.uid, wanted)
}

/// Takes from what Usage Limits leave. A use is spent for good: a batch that is undone does not give it back.
fn use_up(engine: &Engine, context: &Context, uid: &str, wanted: i64) -> Outcome<()> {
    let used = engine
        .objects
        .change(&context.caller, None, |transaction| {
            let mut object = transaction.get(uid)?;
            if let Some(limits) = limits_of(&mut object.attributes) {
                take(context.version, limits, wanted)?;
            }
            transaction.put(&object)?;
            transaction.check(&engine.quotas, context)?;
            Ok(object)
        })?;
    match &context.undo {
        Some(undo) => Ok(undo.spent(engine.objects.repository().keys(), &used, wanted)?),
        None => Ok(()),
    }
}

/// Fails when Usage Limits are changed of a key that was used already (spec 1.4, 3.21), or are none.
pub fn check_limits(
    context: &Context,
    before: Option<&UsageLimits>,
    object: &mut Object,
) -> Outcome<()> {
    let same = |now: Option<&UsageLimits>| now == before;
    let now = limits_of(&mut object.attributes);
    if same(now.as_deref()) {
        return Ok(());
    }
    if before.is_some_and(|before| left_of(before) < before.usage_limits_total) {
        let reason = reason(
            context.version,
            ResultReason::PERMISSION_DENIED,
            ResultReason::ATTRIBUTE_READ_ONLY,
        );
        return Err(Refusal::item(
            reason,
            "Usage Limits cannot be changed: the key was used",
        ));
    }
    // The count is the server's: all uses are left.
    if let Some(limits) = now {
        limits.usage_limits_count = Some(limits.usage_limits_total);
    }
    Ok(())
}
