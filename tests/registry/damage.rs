//! A registry that hands out other bytes than were pushed.

use std::fs;

use crate::server::{INSECURE, Place, Registry};
use crate::{assert_contains, layout, refused};

type Damage = (&'static str, fn(&mut Vec<u8>));

#[test]
fn is_refused() {
    let place = Place::new();
    let Some(registry) = Registry::start(&place) else {
        return;
    };
    let layout = layout(&place);
    let image = registry.image("damaged");
    place.push(&layout, &image, &[]);
    let blobs = [&layout.layers[..], &[layout.config, layout.manifest]].concat();
    let damages: [Damage; 4] = [
        ("another byte", |bytes| *bytes.last_mut().unwrap() ^= 1),
        ("truncated", |bytes| bytes.truncate(bytes.len() - 1)),
        ("too long", |bytes| bytes.push(0)),
        ("empty", Vec::clear),
    ];
    for digest in &blobs {
        let file = registry.blob(digest);
        let good = fs::read(&file).unwrap();
        for (damage, change) in damages {
            let mut bytes = good.clone();
            change(&mut bytes);
            fs::write(&file, bytes).unwrap();
            let error = refused(&place, &image, &[INSECURE]);
            assert_contains(&error, &format!("importing {image}: "));
            println!("{damage}: {error}");
        }
        fs::remove_file(&file).unwrap();
        assert_contains(&refused(&place, &image, &[INSECURE]), "skopeo: ");
        fs::write(&file, good).unwrap();
    }
    crate::imported(&place, &image, &[INSECURE]);
}
