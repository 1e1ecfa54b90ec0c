//! What mutations start from: the API server's answers in `tests/golden`, and short forms of them.

use std::sync::OnceLock;

use toono::wire::json::list::ListDecoder;
use toono::wire::list::OBJECT_LIMIT;
use toono::wire::list::Part;

macro_rules! golden {
    ($($name:literal),* $(,)?) => {
        [$(include_bytes!(concat!("../golden/", $name, ".body")) as &[u8]),*]
    };
}

const LISTS: [&[u8]; 10] = golden!(
    "list_cameras_json",
    "list_configmaps_half_json",
    "list_csidrivers_empty_json",
    "list_endpointslices_json",
    "list_nodepools_json",
    "list_nodes_json",
    "list_pods_json",
    "list_pods_page1",
    "list_pods_table",
    "list_services_json",
);
const STREAMS: [&[u8]; 6] = golden!(
    "watch_cameras_json",
    "watch_configmaps_half_json",
    "watch_configmaps_json",
    "watch_expired_json",
    "watch_from_zero_endpointslices_json",
    "watchlist_services_json",
);
const OBJECTS: [&[u8]; 4] = golden!(
    "get_missing_json",
    "get_pod_json",
    "list_bad_selector",
    "list_future_rv",
);

/// A short form is not longer than this, if its first item is not.
const SHORT: usize = 3_000;

/// Documents to begin with.
pub(crate) struct Golden {
    /// Lists as they came.
    pub(crate) lists: Vec<&'static [u8]>,
    /// Lists of a few items.
    pub(crate) short_lists: Vec<Vec<u8>>,
    /// Watch streams as they came.
    pub(crate) streams: Vec<&'static [u8]>,
    /// Streams of a few events.
    pub(crate) short_streams: Vec<Vec<u8>>,
    /// Single objects: items, and whole ones.
    pub(crate) objects: Vec<Vec<u8>>,
}

/// The documents, cut up once.
pub(crate) fn golden() -> &'static Golden {
    static GOLDEN: OnceLock<Golden> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        let mut golden = Golden {
            lists: LISTS.to_vec(),
            short_lists: Vec::new(),
            streams: STREAMS.to_vec(),
            short_streams: Vec::new(),
            objects: OBJECTS.map(<[u8]>::to_vec).to_vec(),
        };
        for list in LISTS {
            let (prefix, items, suffix) = parts(list);
            let mut short = prefix;
            for (n, item) in items.iter().enumerate() {
                if n > 0 && short.len() + item.len() > SHORT {
                    break;
                }
                if n > 0 {
                    short.push(b',');
                }
                short.extend_from_slice(item);
            }
            short.extend_from_slice(&suffix);
            golden.short_lists.push(short);
            golden.objects.extend(items.into_iter().take(2));
        }
        for stream in STREAMS {
            let mut short = Vec::new();
            for line in stream.split_inclusive(|byte| *byte == b'\n') {
                if !short.is_empty() && short.len() + line.len() > SHORT {
                    break;
                }
                short.extend_from_slice(line);
            }
            golden.short_streams.push(short);
        }
        golden
    })
}

fn parts(list: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>, Vec<u8>) {
    let mut decoder = ListDecoder::new(OBJECT_LIMIT);
    decoder.push(list).expect("within limits");
    let (mut prefix, mut items, mut suffix) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(part) = decoder.part().expect("a golden list") {
        match part {
            Part::Prefix(bytes) => prefix.extend_from_slice(bytes),
            Part::Item(bytes) => items.push(bytes.to_vec()),
            Part::Suffix(bytes) => suffix.extend_from_slice(bytes),
        }
    }
    (prefix, items, suffix)
}
