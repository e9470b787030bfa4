//! Where the paths of a commit come from. The tests of the fixups themselves need it, too, which is why
//! it uses nothing else.

/// Where a path of a commit was in its image.
pub fn original_path(path: &str) -> String {
    for (place, origin) in [
        ("/usr/share/factory/var/home", "/home"),
        ("/usr/share/factory/var/roothome", "/root"),
        ("/usr/share/factory/var/srv", "/srv"),
        ("/usr/share/factory/var", "/var"),
        ("/usr/lib/sysimage/dpkg", "/var/lib/dpkg"),
        ("/usr/lib/sysimage/pacman", "/var/lib/pacman"),
    ] {
        if is_below(path, place) {
            return format!("{origin}{}", &path[place.len()..]);
        }
    }
    host_path(path)
}

/// The path of the host: its `/etc` is `/usr/etc` of the commit.
pub fn host_path(path: &str) -> String {
    match is_below(path, "/usr/etc") {
        true => path["/usr".len()..].to_owned(),
        false => path.to_owned(),
    }
}

/// Is `path` the path `named`, or does it lie below it?
pub fn is_below(path: &str, named: &str) -> bool {
    let below = path.strip_prefix(named);
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
