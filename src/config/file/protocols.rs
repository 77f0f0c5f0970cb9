//! HTTP/2 as it is written.

use std::time::Duration;

use crate::config::fault::Problem;
use crate::config::protocols::HttpVersion;
use crate::config::read::{FromNode, Size, table};
use crate::config::report::Report;
use crate::config::tree::{Node, Value};

table! {
    /// `http2` of `[server]` as a table.
    Http2Table() {
        streams: u32,
        window: Size,
        connection_window: Size,
        control_frames: u32,
        ping: Duration,
    }
}

/// `http2` of `[server]`.
#[derive(Clone, Debug)]
pub(crate) enum Http2 {
    Switch(bool),
    Limits(Http2Table),
}

impl FromNode for Http2 {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Table(_) => Http2Table::from_node(node, report).map(Self::Limits),
            Value::Bool(on) => Some(Self::Switch(*on)),
            _ => {
                let problem = Problem::new("expected `true`, `false` or a table");
                report.error(node.span, problem);
                None
            }
        }
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        Http2Table::keys(path, out);
    }
}

impl FromNode for HttpVersion {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Integer(2) => Some(Self::Http2),
            Value::Text(text) if text == "2" => Some(Self::Http2),
            Value::Text(text) if text == "1.1" => Some(Self::Http1),
            _ => {
                let problem = Problem::new("expected `2` or `\"1.1\"`");
                report.error(node.span, problem);
                None
            }
        }
    }
}
