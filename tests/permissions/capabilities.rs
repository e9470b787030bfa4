//! Texts of capabilities, as libcap reads them.

use std::process::Command;

use import_oci::packages::Capabilities;

use crate::support::command::{is_root, not_run, scratch};

#[test]
fn texts_mean_what_setcap_makes_of_them() {
    if !is_root() {
        return not_run("only root can set capabilities");
    }
    let directory = scratch();
    let file = directory.path().join("file");
    for text in [
        "cap_net_raw=ep",
        "cap_net_raw+ep",
        "= cap_net_raw+ep",
        "cap_dac_override,cap_net_admin,cap_net_raw=eip",
        "cap_dac_read_search,cap_setgid,cap_setuid=p",
        "cap_chown=p cap_kill=i",
        "cap_chown=p+i",
        "cap_chown=+p",
        "cap_chown=eip-i",
        "cap_chown,cap_kill=eip cap_kill-eip",
        "CAP_CHOWN=p",
        "cap_bpf,cap_checkpoint_restore=p",
        "13=p",
        "all=ep",
        "=ep",
        "=eip cap_setpcap-ip",
        "cap_chown",
        "+ep",
        "cap_chown+",
        "cap_chown=x",
        "cap_no=p",
        "chown=p",
        "cap_chown,=p",
        ",cap_chown=p",
        "cap_chown=p=i",
        "cap_chown=ep cap_kill=p",
        "cap_chown=e cap_kill=e",
    ] {
        std::fs::write(&file, "").unwrap();
        let set = Command::new("setcap")
            .args(["-q", text])
            .arg(&file)
            .output()
            .unwrap();
        let ours = Capabilities::parse(text);
        assert_eq!(
            ours.is_ok(),
            set.status.success(),
            "{text:?}: {ours:?}, {set:?}"
        );
        if let Ok(ours) = ours {
            let mut value = [0; 64];
            let length = rustix::fs::getxattr(&file, "security.capability", &mut value).unwrap();
            assert_eq!(ours.to_xattr(), value[..length], "{text:?}");
        }
        std::fs::remove_file(&file).unwrap();
    }
}
