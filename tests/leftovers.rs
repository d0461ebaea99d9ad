//! What is left of destroyed keys in the memory of `mrhsm serve`.

use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::version::Version;

use crate::needle::Needle;
use crate::serve::{Serve, active, id, scratch, value};

#[test]
fn a_server_keeps_nothing_of_a_destroyed_key() {
    let folder = scratch();
    let serve = Serve::start(folder.path(), &[]);
    let process = serve.process.id().to_string();
    let key = {
        let client = serve.client(folder.path(), "client", Version::V1_4);
        let uid = client.request(&active("key")).unwrap().unique_identifier;
        let key = Needle::new("the key", &mut value(&client, &uid));
        assert!(key.found(&process) > 0, "the server remembers what is used");
        let revoke = RevokeRequest {
            unique_identifier: id(&uid),
            ..RevokeRequest::default()
        };
        client.request(&revoke).unwrap();
        let destroy = DestroyRequest {
            unique_identifier: id(&uid),
        };
        client.request(&destroy).unwrap();
        key
    };
    // The buffers of a connection are wiped when it is closed, and the server sees that in its own time.
    for _ in 0..100 {
        if key.found(&process) == 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the server's memory holds the destroyed key");
}
