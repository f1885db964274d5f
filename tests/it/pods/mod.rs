//! The image in real pods, installed with Helm: what only pods can show.

mod node;
mod operator;
