//! What making a network needs: two capabilities. An ordinary user has them in a user namespace of his own.

use std::fs;
use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;

/// What is missing.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// And nothing was tried instead.
    #[error(
        "{} missing: run this as root, or in a user namespace (`unshare --user --map-root-user`)", named(.0)
    )]
    Capabilities(Vec<&'static str>),
    /// Nor may this user make a namespace of his own.
    #[error(
        "{} missing, and no user namespace of its own is allowed ({errno}): run this as root, or allow user namespaces \
         (user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)",
        named(.capabilities)
    )]
    UserNamespace {
        /// What would have been enough without.
        capabilities: Vec<&'static str>,
        /// Why not.
        errno: io::Error,
    },
}

fn named(capabilities: &[&str]) -> String {
    let verb = if capabilities.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", capabilities.join(" and "))
}

/// Whether networks can be made from here.
pub fn check() -> Result<(), Missing> {
    let missing = missing();
    if missing.is_empty() { Ok(()) } else { Err(Missing::Capabilities(missing)) }
}

/// Enters a user namespace if the capabilities are missing. Only while the process has a single thread: later the kernel
/// refuses.
pub fn acquire() -> Result<(), Missing> {
    let capabilities = missing();
    if capabilities.is_empty() {
        return Ok(());
    }
    enter_user_namespace().map_err(|errno| Missing::UserNamespace { capabilities, errno })
}

/// Root inside is who one is outside.
fn enter_user_namespace() -> io::Result<()> {
    let (user, group) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    // Without this the kernel takes no map of groups from an ordinary user.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

fn missing() -> Vec<&'static str> {
    let effective = fs::read_to_string("/proc/self/status").map_or(0, |status| effective(&status));
    let needed = [(SYS_ADMIN, "CAP_SYS_ADMIN"), (NET_ADMIN, "CAP_NET_ADMIN")];
    needed.into_iter().filter(|(bit, _)| effective >> bit & 1 == 0).map(|(_, name)| name).collect()
}

/// Of /proc/self/status.
fn effective(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_effective_set() {
        let status = "CapPrm:\t000001ffffffffff\nCapEff:\t0000000000201000\nCapBnd:\t0\n";
        assert_eq!(effective(status), 1 << SYS_ADMIN | 1 << NET_ADMIN);
        assert_eq!(effective("Name:\tno capabilities here\n"), 0);
    }

    #[test]
    fn what_is_missing_is_said_by_name() {
        let said = Missing::Capabilities(vec!["CAP_NET_ADMIN"]).to_string();
        assert!(said.starts_with("CAP_NET_ADMIN is missing: run this as root, or in a user"), "{said}");
        let errno = io::Error::from_raw_os_error(libc::EPERM);
        let capabilities = vec!["CAP_SYS_ADMIN", "CAP_NET_ADMIN"];
        let said = Missing::UserNamespace { capabilities, errno }.to_string();
        assert!(
            said.starts_with("CAP_SYS_ADMIN and CAP_NET_ADMIN are missing, and no user namespace"),
            "{said}"
        );
    }
}
