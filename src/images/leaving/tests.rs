use super::*;

fn commit(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// `name commit layer…`; a layer `?` is one that cannot be read.
fn holder(text: &str) -> Holder {
    let words: Vec<_> = text.split(' ').collect();
    let [name, of, layers @ ..] = &*words else {
        panic!("{text}");
    };
    Holder {
        name: (*name).to_owned(),
        commit: commit(of),
        layers: match layers {
            ["?"] => Err("unreadable".to_owned()),
            layers => Ok(layers.iter().map(|layer| (*layer).to_owned()).collect()),
        },
    }
}

fn inventory(images: &[&str], ours: &[&str], others: &[&str]) -> Inventory {
    let holders = |prefix: &str, texts: &[&str]| {
        let texts = texts.iter();
        texts
            .map(|text| holder(&format!("{prefix}{text}")))
            .collect()
    };
    let layers = ["a", "b", "c"].map(|layer| {
        let name = format!("{}/{layer}", RefName::BLOB_PREFIX);
        (name, commit(layer), Ok(layer.to_owned()))
    });
    Inventory {
        images: holders(&format!("{}/", RefName::IMAGE_PREFIX), images),
        ours: holders(&format!("{}/", RefName::our_base_images()), ours),
        others: holders("", others),
        layers: layers.into(),
    }
}

fn deployed(commits: &[&str], images: &[&str]) -> Deployed {
    Deployed {
        commits: commits.iter().map(|name| commit(name)).collect(),
        images: images.iter().map(|image| image.parse().unwrap()).collect(),
        unreadable: Vec::new(),
    }
}

/// The last components of refs, in their order.
fn names(refs: &[(String, Digest)]) -> Vec<&str> {
    let names = refs.iter().map(|(name, _)| name.rsplit('/').next());
    names.flatten().collect()
}

#[test]
fn clean_ups() {
    struct Case<'a> {
        images: &'a [&'a str],
        ours: &'a [&'a str],
        deployed: Deployed,
        judge_images: bool,
        undeployed: bool,
        leave: [&'a [&'a str]; 2],
    }
    let case = Case {
        images: &["oci_3A_x 1"],
        ours: &[],
        deployed: deployed(&[], &[]),
        judge_images: true,
        undeployed: false,
        leave: [&["oci_3A_x"], &[]],
    };
    let cases = [
        Case { ..case },
        Case {
            deployed: deployed(&["1"], &[]),
            leave: [&[], &[]],
            ..case
        },
        Case {
            deployed: deployed(&["2"], &["oci:x"]),
            leave: [&[], &[]],
            ..case
        },
        // It waits, by its commit or by its name.
        Case {
            ours: &["oci_3A_y 1"],
            deployed: deployed(&[], &[]),
            leave: [&[], &[]],
            ..case
        },
        Case {
            ours: &["oci_3A_x 2"],
            deployed: deployed(&[], &[]),
            leave: [&[], &[]],
            ..case
        },
        // It has waited.
        Case {
            ours: &["oci_3A_x 1"],
            deployed: deployed(&["1"], &[]),
            leave: [&[], &["oci_3A_x"]],
            ..case
        },
        Case {
            ours: &["oci_3A_x 2"],
            deployed: deployed(&["2"], &[]),
            leave: [&["oci_3A_x"], &["oci_3A_x"]],
            ..case
        },
        Case {
            ours: &["oci_3A_x 1", "rootfs_3A_y 2"],
            deployed: deployed(&[], &[]),
            undeployed: true,
            leave: [&["oci_3A_x"], &["oci_3A_x", "rootfs_3A_y"]],
            ..case
        },
        // Nobody knows what is deployed.
        Case {
            deployed: deployed(&[], &[]),
            judge_images: false,
            leave: [&[], &[]],
            ..case
        },
        Case {
            deployed: deployed(&[], &[]),
            judge_images: false,
            undeployed: true,
            ..case
        },
        Case {
            deployed: Deployed {
                unreadable: vec![("an origin".to_owned(), "odd".to_owned())],
                ..deployed(&[], &[])
            },
            undeployed: true,
            ours: &["oci_3A_x 1"],
            leave: [&[], &[]],
            ..case
        },
        // Nobody knows what they are.
        Case {
            images: &["oci_3A_x 1 ?", "odd.name 2"],
            ours: &["oci_3A_x 1 ?"],
            deployed: deployed(&[], &[]),
            undeployed: true,
            leave: [&[], &[]],
            ..case
        },
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let inventory = inventory(case.images, case.ours, &[]);
        let Case {
            deployed,
            judge_images,
            undeployed,
            ..
        } = case;
        let leaving = of_clean_up(&inventory, &deployed, judge_images, undeployed);
        let leave = [names(&leaving.images), names(&leaving.base_images)];
        assert_eq!(leave, case.leave.map(<[_]>::to_vec), "case {number}");
        assert_eq!(leaving.unreadable, deployed.unreadable, "case {number}");
    }
}

#[test]
fn layers_leave_that_nothing_needs() {
    for (images, ours, others, leave, unreadable) in [
        (&[][..], &[][..], &[][..], &["a", "b", "c"][..], 0),
        (&["oci_3A_x 1 a b"], &[], &[], &["c"], 0),
        (
            &["oci_3A_x 1 a"],
            &["oci_3A_x 1 b"],
            &["ostree/0/1/0 2 c"],
            &[],
            0,
        ),
        (&["oci_3A_x 1 a"], &[], &["ostree/0/1/0 2"], &["b", "c"], 0),
        // It leaves, so that what it needs does not matter.
        (
            &["oci_3A_gone 1 a"],
            &["oci_3A_gone 1 ?"],
            &[],
            &["a", "b", "c"],
            0,
        ),
        // It needs what its commit says, whatever its name is.
        (&["odd.name 1 a"], &[], &[], &["b", "c"], 1),
        (&["oci_3A_x 1 ?"], &[], &[], &[], 1),
        (&["odd.name 1 ?"], &[], &[], &[], 1),
        (&[], &["oci_3A_x 1 ?"], &["ostree/0/1/0 1 ?"], &[], 2),
    ] {
        let inventory = inventory(images, ours, others);
        let references = ["oci:gone".to_owned()];
        let mut leaving = of_references(&inventory, &references).unwrap_or_default();
        add_layers(&mut leaving, &inventory);
        assert_eq!(
            names(&leaving.layers),
            leave,
            "{images:?} {ours:?} {others:?}"
        );
        assert_eq!(leaving.unreadable.len(), unreadable, "{images:?} {ours:?}");
        let order: Vec<_> = leaving.refs().collect();
        assert!(order.ends_with(&leaving.layers.iter().collect::<Vec<_>>()));
    }
    let mut odd = inventory(&[], &[], &[]);
    odd.layers[1].2 = Err("odd".to_owned());
    let mut leaving = Leaving::default();
    add_layers(&mut leaving, &odd);
    assert_eq!(names(&leaving.layers), ["a", "c"]);
    assert_eq!(leaving.unreadable[0].1, "odd");
}

#[test]
fn images_are_found_under_all_their_names() {
    let digest = "0".repeat(64);
    let image = format!("docker_3A__2F__2F_h_2E_io/x_40_sha256_3A_{digest} 1");
    let ours = format!("docker_3A__2F__2F_h_2E_io/x_3A_1_40_sha256_3A_{digest} 1");
    let inventory = inventory(&[&image], &[&ours, "rootfs_3A_y 2", "oci_3A_z 3"], &[]);
    for (reference, leave) in [
        (format!("docker://h.io/x@sha256:{digest}"), Some((1, 1))),
        (format!("docker://h.io/x:1@sha256:{digest}"), Some((1, 1))),
        (
            format!("ostree-image-signed:docker://h.io/x:1@sha256:{digest}"),
            Some((1, 1)),
        ),
        ("docker://h.io/x:1".to_owned(), None),
        ("rootfs:y".to_owned(), Some((0, 1))),
        ("oci:z".to_owned(), Some((0, 1))),
        ("oci:y".to_owned(), None),
        (String::new(), None),
    ] {
        let leaving = of_references(&inventory, std::slice::from_ref(&reference));
        let found = leaving.ok().map(|l| (l.images.len(), l.base_images.len()));
        assert_eq!(found, leave, "{reference}");
    }
}
