//! OpenAI's embeddings, as lists of numbers or in base64.

use super::plan::Plan;
use super::usage;
use super::words::Draw;
use base64::Engine as _;
use bytes::{BufMut, BytesMut};
use std::fmt::Write as _;

/// What is embedded, and how it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub vectors: u64,
    pub dimensions: u64,
    pub base64: bool,
}

/// Dimensions of a model's vectors when the caller names none.
pub fn usual_dimensions(model: &str) -> u64 {
    match model {
        _ if model.starts_with("text-embedding-3-large") => 3_072,
        _ if model.starts_with("text-embedding") => 1_536,
        _ => 256,
    }
}

/// The whole answer as one JSON object.
pub fn plain(plan: &Plan, shape: Shape, out: &mut BytesMut) {
    out.put_slice(b"{\"object\":\"list\",\"data\":[");
    let mut bytes = Vec::new();
    for index in 0..shape.vectors {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(
            out,
            "{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":"
        );
        let mut draw = Draw::new(plan.seed, index);
        if shape.base64 {
            bytes.clear();
            (0..shape.dimensions).for_each(|_| bytes.extend(coordinate(&mut draw).to_le_bytes()));
            let _ = write!(
                out,
                "\"{}\"",
                base64::engine::general_purpose::STANDARD.encode(&bytes)
            );
        } else {
            for at in 0..shape.dimensions {
                out.put_u8(if at == 0 { b'[' } else { b',' });
                let _ = write!(out, "{:.6}", coordinate(&mut draw));
            }
            out.put_u8(b']');
        }
        out.put_u8(b'}');
    }
    let _ = write!(out, "],\"model\":{}", plan.model_json);
    usage::member(plan, usage::embeddings, out);
    out.put_u8(b'}');
}

/// From -0.5 to 0.5.
fn coordinate(draw: &mut Draw) -> f32 {
    (draw.next() >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
}
