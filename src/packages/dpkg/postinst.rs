//! Modes, owners and capabilities that the `postinst` of a package gives to its files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::script::{self, Word};
use super::statoverride::octal;
use crate::packages::{Capabilities, DeclaredFile, Owner};
use crate::path::ImagePath;

/// What the script certainly does with literal paths: `setcap`, `chmod` with an octal mode, `chown`
/// and `chgrp`, none of them with options. Of several commands for one path the last counts; one that
/// is not understood makes what it sets unknown.
pub fn parse(package: &Arc<str>, script: &[u8]) -> Vec<DeclaredFile> {
    const COMMANDS: &[&[u8]] = &[b"setcap", b"chmod", b"chown", b"chgrp"];
    let mentions = |command: &&[u8]| script.windows(command.len()).any(|text| *text == **command);
    if !COMMANDS.iter().any(mentions) {
        return Vec::new();
    }
    let mut files = BTreeMap::new();
    for command in script::certain_commands(script) {
        let Some((program, arguments)) = command.split_first() else {
            continue;
        };
        let program = program.text.rsplit(|&b| b == b'/').next();
        let Some(effect) = arguments
            .first()
            .filter(|word| !word.text.starts_with(b"-"))
            .and_then(|value| Effect::of(program.unwrap_or_default(), value))
        else {
            continue;
        };
        for path in arguments[1..].iter().filter_map(literal_path) {
            let file = files
                .entry(path.clone())
                .or_insert_with(|| DeclaredFile::new(package.clone(), path));
            effect.apply(file);
        }
    }
    let says_something = |file: &DeclaredFile| {
        file.mode.is_some()
            || file.user.is_some()
            || file.group.is_some()
            || file.capabilities.is_some()
    };
    files.into_values().filter(says_something).collect()
}

/// What a command does with a path; `None` where it sets something that is not known.
#[derive(Debug)]
enum Effect {
    Capabilities(Option<Capabilities>),
    Mode(Option<u32>),
    /// `chown`: a user, and a group if it names one.
    Owners(Option<Owner>, Option<Option<Owner>>),
    Group(Option<Owner>),
}

impl Effect {
    fn of(program: &[u8], value: &Word) -> Option<Self> {
        let literal = Some(&*value.text).filter(|_| !value.expands);
        let owner = |name: &[u8]| (!name.is_empty()).then(|| account(name));
        Some(match program {
            b"setcap" => {
                let text = literal.and_then(|text| std::str::from_utf8(text).ok());
                Self::Capabilities(text.and_then(|text| Capabilities::parse(text).ok()))
            }
            b"chmod" => Self::Mode(literal.and_then(octal)),
            b"chgrp" => Self::Group(literal.and_then(owner)),
            b"chown" => match literal {
                None => Self::Owners(None, Some(None)),
                Some(text) => {
                    let mut parts = text.splitn(2, |&b| b == b':');
                    let user = parts.next().and_then(owner);
                    Self::Owners(user, parts.next().map(owner))
                }
            },
            _ => return None,
        })
    }

    fn apply(&self, file: &mut DeclaredFile) {
        match self {
            Self::Capabilities(set) => file.capabilities = *set,
            Self::Mode(mode) => file.mode = *mode,
            Self::Group(group) => file.group = group.clone(),
            Self::Owners(user, group) => {
                file.user = user.clone();
                if let Some(group) = group {
                    file.group = group.clone();
                }
            }
        }
    }
}

/// A number is one, everything else is a name.
fn account(word: &[u8]) -> Owner {
    match crate::packages::accounts::parse_id(word) {
        Some(number) => Owner::Number(number),
        None => Owner::Name(String::from_utf8_lossy(word).into()),
    }
}

fn literal_path(word: &Word) -> Option<ImagePath> {
    let path = word.text.strip_prefix(b"/").filter(|_| !word.expands)?;
    ImagePath::parse(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(script: &str) -> Vec<String> {
        let owner = |owner: &Option<Owner>| match owner {
            Some(Owner::Name(name)) => name.to_string(),
            Some(Owner::Number(number)) => number.to_string(),
            None => "-".to_owned(),
        };
        parse(&"p".into(), script.as_bytes())
            .iter()
            .map(|file| {
                let mode = file.mode.map_or("-".into(), |mode| format!("{mode:o}"));
                let caps = file.capabilities.map_or("-".into(), |c| c.to_string());
                let (user, group) = (owner(&file.user), owner(&file.group));
                format!("{} {mode} {user}:{group} {caps}", file.path)
            })
            .collect()
    }

    /// From iputils-ping of Debian 12.
    const PING: &str = r#"
PROGRAM=$(dpkg-divert --truename /bin/ping)
if [ "$1" = configure ]; then
    # If we have setcap installed, try setting cap_net_raw+ep,
    if command -v setcap > /dev/null; then
        if setcap cap_net_raw+ep $PROGRAM; then
            chmod u-s $PROGRAM
        else
            echo "Setcap failed on $PROGRAM, falling back to setuid" >&2
            chmod u+s $PROGRAM
        fi
    else
        echo "Setcap is not installed, falling back to setuid" >&2
        chmod u+s $PROGRAM
    fi
fi
exit 0
"#;

    /// From openssh-client of Debian 13, shortened.
    const AGENT: &str = r#"
action="$1"
set_ssh_agent_permissions() {
	if ! getent group _ssh >/dev/null; then
		addgroup --system --quiet --force-badname _ssh
	fi
	if ! dpkg-statoverride --list /usr/bin/ssh-agent >/dev/null; then
		chgrp _ssh /usr/bin/ssh-agent
		chmod 2755 /usr/bin/ssh-agent
	fi
}
if [ "$action" = configure ]; then
	if dpkg --compare-versions "$2" lt-nl 1:8.4p1-6~; then
		update_ssh_group_name
	fi
	set_ssh_agent_permissions
fi
"#;

    /// From wireshark-common of Debian 12, shortened: the user decides.
    const DUMPCAP: &str = r#"
. /usr/share/debconf/confmodule
PROGRAM=$(dpkg-divert --truename /usr/bin/dumpcap)
if ! dpkg-statoverride --list $PROGRAM > /dev/null; then
    db_get wireshark-common/install-setuid
    if [ -e "$PROGRAM" ]; then
	if [ "$RET" = "false" ] ; then
	    chown root:root $PROGRAM
	else
	    chown root:$GROUP $PROGRAM
	    if command -v setcap > /dev/null ; then
                if ! setcap cap_net_raw,cap_net_admin=eip $PROGRAM; then
		    chmod u=rwxs,g=rx,o=r $PROGRAM
                fi
	    fi
        fi
    fi
fi
"#;

    #[test]
    fn scripts_of_debian_are_read() {
        assert_eq!(read(PING), ["/bin/ping - -:- cap_net_raw=ep"]);
        assert_eq!(read(AGENT), ["/usr/bin/ssh-agent 2755 -:_ssh -"]);
        assert!(read(DUMPCAP).is_empty());
    }

    #[test]
    fn only_what_is_literal_counts() {
        for (script, want) in [
            ("chmod 0750 /a /b", &["/a 750 -:- -", "/b 750 -:- -"][..]),
            ("chown root:adm /a; chown 7 /a", &["/a - 7:adm -"]),
            (
                "chown :adm /a; chgrp 4 '/b c'",
                &["/a - -:adm -", "/b c - -:4 -"],
            ),
            ("/sbin/setcap = /a", &["/a - -:- "]),
            ("chmod 700 /a; chmod go+w /a", &[]),
            ("chmod 700 /a; chmod 755 /a", &["/a 755 -:- -"]),
            ("chown root:adm /a; chown root:$G /a", &[]),
            (
                "chmod -R 700 /a; chmod 700 a; chmod 700 /$a /b*; setcap bad /a",
                &[],
            ),
            ("chmod 99 /a; chown root", &[]),
        ] {
            assert_eq!(read(script), want, "{script}");
        }
    }
}
