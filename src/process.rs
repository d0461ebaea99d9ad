//! The module of this process: made by `C_Initialize`, shared by all calls, gone with `C_Finalize` or a fork.
//!
//! A forked child starts uninitialised, whatever its parent was doing: locks that were held stay held and connections are
//! the parent's, so nothing of the parent's is touched or dropped in the child. It is left where it is, and the child
//! begins a new root behind it.

use std::sync::{Arc, PoisonError, RwLock};

use once_cell::race::OnceBox;

use crate::ck;
use crate::error::Result;
use crate::fork;
use crate::module::Module;
use crate::token::Handles;

/// The state of one process. Those of its ancestors stay in front of it for ever.
struct Root {
    /// The fork generation of the process.
    generation: u32,
    module: RwLock<Option<Arc<Module>>>,
    /// Of all modules of the process, and of its children after it: a handle from before `C_Finalize` or a fork is never another's.
    handles: Arc<Handles>,
    /// The root of a process forked from this one, in that process' copy of the memory. `race` never blocks: two threads
    /// may both make one, and the first wins; a fork at any moment leaves no lock behind.
    child: OnceBox<Root>,
}

impl Root {
    fn new(handles: Arc<Handles>) -> Box<Root> {
        Box::new(Root {
            generation: fork::generation(),
            module: RwLock::new(None),
            handles,
            child: OnceBox::new(),
        })
    }
}

/// The root of this process.
fn root() -> &'static Root {
    static FIRST: OnceBox<Root> = OnceBox::new();
    let generation = fork::generation();
    let mut root = FIRST.get_or_init(|| Root::new(Arc::default()));
    while let Some(child) = root.child.get() {
        root = child;
    }
    if root.generation == generation {
        root
    } else {
        root.child.get_or_init(|| Root::new(root.handles.clone()))
    }
}

/// What `C_Initialize` was given.
#[derive(Clone, Copy, Debug, Default)]
pub struct InitArgs {
    /// `CKF_*` flags.
    pub flags: ck::CK_FLAGS,
    /// How many of the four mutex callbacks there are.
    pub callbacks: usize,
    /// `pReserved` is not NULL.
    pub reserved: bool,
}

/// `C_Initialize`: reads the configuration; no network.
///
/// We always lock with the operating system's means, also for applications that promise to use one thread: some say so and
/// use several. So callbacks are acceptable only when these are allowed as well.
pub fn initialize(args: InitArgs) -> Result<()> {
    if args.reserved || !matches!(args.callbacks, 0 | 4) {
        Err(ck::CKR_ARGUMENTS_BAD)?;
    }
    if args.callbacks == 4 && args.flags & ck::CKF_OS_LOCKING_OK == 0 {
        Err(ck::CKR_CANT_LOCK)?;
    }
    let root = root();
    let mut module = root.module.write().unwrap_or_else(PoisonError::into_inner);
    if module.is_some() {
        Err(ck::CKR_CRYPTOKI_ALREADY_INITIALIZED)?;
    }
    *module = Some(Arc::new(Module::open(root.handles.clone())?));
    Ok(())
}

/// `C_Finalize`: whoever waits for a slot event stops waiting; other calls that are under way in other threads end as they
/// would, and the last one frees the module.
pub fn finalize() -> Result<()> {
    let module = root()
        .module
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    // The lock is given back: closing connections takes time.
    let module = module.ok_or(ck::CKR_CRYPTOKI_NOT_INITIALIZED)?;
    module.close();
    Ok(())
}

/// The module, or `CKR_CRYPTOKI_NOT_INITIALIZED`. What it must not keep any longer is wiped.
pub fn module() -> Result<Arc<Module>> {
    let module = root().module.read().unwrap_or_else(PoisonError::into_inner);
    let module = module.clone().ok_or(ck::CKR_CRYPTOKI_NOT_INITIALIZED)?;
    module.expire();
    Ok(module)
}
