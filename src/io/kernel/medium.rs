//! What a folder lies on: flash, or memory that a reboot empties.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Kinds of file systems, as `statfs` tells them (`linux/magic.h`).
const TMPFS: u32 = 0x0102_1994;
const RAMFS: u32 = 0x8584_58f6;
const OVERLAY: u32 = 0x794c_7630;

/// Whether `folder` has anything to write on that a reboot empties, and what that is: a tmpfs, a ramfs, or an overlay whose
/// upper folder is on one (what a read-only root puts over `/var/lib`). An overlay whose upper folder can't be seen from
/// here is taken for lasting, and so is one whose name has spaces in it.
pub fn volatile(folder: &Path) -> io::Result<Option<&'static str>> {
    Ok(match kind(folder)? {
        TMPFS => Some("tmpfs"),
        RAMFS => Some("ramfs"),
        OVERLAY => {
            let mounts = fs::read_to_string("/proc/self/mountinfo")?;
            let upper = upper(&mounts, fs::metadata(folder)?.dev());
            match upper.map(|upper| kind(Path::new(upper))) {
                Some(Ok(TMPFS)) => Some("overlay over tmpfs"),
                Some(Ok(RAMFS)) => Some("overlay over ramfs"),
                _ => None,
            }
        }
        _ => None,
    })
}

/// Its type is of another width and sign on each architecture; all of these numbers have 32 bits.
#[allow(clippy::unnecessary_cast)]
fn kind(folder: &Path) -> io::Result<u32> {
    Ok(rustix::fs::statfs(folder)?.f_type as u32)
}

/// The upper folder of the overlay that is device `device`, as `/proc/self/mountinfo` tells it.
fn upper(mounts: &str, device: u64) -> Option<&str> {
    // The kernel's own numbers have 12 and 20 bits; device numbers of programs interleave them (`sysmacros.h`).
    let major = (device >> 8) & 0xfff | (device >> 32) & !0xfff;
    let minor = device & 0xff | (device >> 12) & !0xff;
    let number = format!("{major}:{minor}");
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(&number))?;
    let options = line.rsplit(' ').next()?;
    let upper = options
        .split(',')
        .find_map(|option| option.strip_prefix("upperdir="))?;
    Some(upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlays_upper_folder_is_found_by_its_device() {
        let mounts = "21 1 254:1 / / ro - squashfs /dev/root ro\n\
            36 21 0:45 / /var/lib rw,relatime shared:1 - overlay overlay rw,lowerdir=/var/lib,upperdir=/run/up,workdir=/run/w\n\
            37 21 0:300 / /x rw - overlay overlay rw,lowerdir=/a:/b\n";
        assert_eq!(upper(mounts, 45), Some("/run/up"));
        // Minor 300 is 0x12c: its low byte, and the rest above bit 20.
        assert_eq!(upper(mounts, 0x10_002c), None);
        assert_eq!(upper(mounts, 99), None);
        assert_eq!(upper("", 45), None);
    }

    #[test]
    fn a_folder_of_memory_is_told_from_others() -> io::Result<()> {
        assert_eq!(volatile(Path::new("/proc"))?, None);
        assert!(volatile(Path::new("/no/such/folder")).is_err());
        Ok(())
    }
}
