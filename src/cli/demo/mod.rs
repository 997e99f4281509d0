//! `demo`: a whole failback with real disk images, shown through the public protocol.

mod image;
mod lab;
mod lines;
mod story;
