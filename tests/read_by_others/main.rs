//! What the owner of a repo does with ostree-ext to images that we imported: as `ostree container` it
//! is on many hosts, and bootc and rpm-ostree are made of it.

#[path = "../support"]
mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod peers;
    pub mod schema;
}
mod cleanup;
mod copies;
mod deploy;
mod encapsulated;
mod layers;
mod place;
mod pulls;
mod queries;
