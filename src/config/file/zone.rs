//! `[zone.NAME]` as it is written.

use crate::config::Fsync;
use crate::config::read::{At, FromNode, List, Size, Timeout, table};
use crate::config::report::Report;
use crate::config::tree::{Node, Value};
use crate::config::words::Levels;

table! {
    /// `[zone.NAME]`
    Zone() {
        path: List<Folder>,
        levels: Levels,
        memory: Size,
        memory_max_object: Size,
        max_size: Size,
        min_free: Size,
        inactive: Timeout,
        use_temp_path: bool,
        fsync: Fsync,
        open_files: u32,
    }
}

table! {
    /// One of `path` as a table; as a string it is the path alone.
    FolderTable(path) {
        path: String,
        weight: u32,
    }
}

/// One of `path` of a zone.
#[derive(Clone, Debug)]
pub(crate) struct Folder(pub FolderTable);

impl FromNode for Folder {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            let table = FolderTable::from_node(node, report)?;
            // A folder without a path is as good as none.
            return table.path.is_some().then_some(Self(table));
        }
        let path = At { value: String::from_node(node, report)?, span: node.span };
        Some(Self(FolderTable { path: Some(path), weight: None }))
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        FolderTable::keys(path, out);
    }
}
