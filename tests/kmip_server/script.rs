//! Faults, injected at chosen requests.

use mrhsm_pkcs11::kmip::OperationCode;
use mrhsm_pkcs11::server::Fault;

/// When it goes wrong.
#[derive(Clone, Copy, Debug)]
enum When {
    /// The n-th request from now, counting from 1.
    Request(usize),
    /// The n-th request from now that holds this operation.
    Operation(OperationCode, usize),
    /// Every request that holds this operation.
    Every(OperationCode),
    /// Every request.
    Always,
}

/// A list of faults. The first that fits a request is taken; each but the lasting ones happens once.
#[derive(Clone, Debug, Default)]
pub struct Script(Vec<(When, Fault)>);

impl Script {
    /// Nothing goes wrong.
    pub fn none() -> Script {
        Script::default()
    }

    /// `fault` at the n-th request from now, counting from 1.
    pub fn at(mut self, n: usize, fault: Fault) -> Script {
        self.0.push((When::Request(n), fault));
        self
    }

    /// `fault` at the n-th request from now that holds `operation`, counting from 1.
    pub fn at_operation(mut self, operation: OperationCode, n: usize, fault: Fault) -> Script {
        self.0.push((When::Operation(operation, n), fault));
        self
    }

    /// `fault` at every request that holds `operation`.
    pub fn every(mut self, operation: OperationCode, fault: Fault) -> Script {
        self.0.push((When::Every(operation), fault));
        self
    }

    /// `fault` at every request.
    pub fn always(mut self, fault: Fault) -> Script {
        self.0.push((When::Always, fault));
        self
    }

    /// Counts a request and says what goes wrong with it.
    pub(super) fn next(&mut self, operations: &[OperationCode]) -> Option<Fault> {
        let mut due = None;
        self.0.retain_mut(|(when, fault)| {
            let now = match when {
                When::Request(n) => count_down(n),
                When::Operation(operation, n) => operations.contains(operation) && count_down(n),
                When::Every(operation) => operations.contains(operation),
                When::Always => true,
            };
            let lasting = matches!(when, When::Every(_) | When::Always);
            if now && due.is_none() {
                due = Some(fault.clone());
            }
            !now || lasting
        });
        due
    }
}

/// True when this was the one that was waited for.
fn count_down(n: &mut usize) -> bool {
    *n = n.saturating_sub(1);
    *n == 0
}
