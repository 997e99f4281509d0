//! What a peer can send wrong, over real TCP to a whole server in this process: HTTP status, subcode, detail, number
//! and text of the refusal, and after each that the same server still answers. What the wire adds nothing to stands
//! in `src/endpoint/tests/vectors`.

mod access;
mod context;
mod http;
mod lab;
mod limits;
mod recorded;
mod soap;
