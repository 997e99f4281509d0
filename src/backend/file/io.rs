//! All input and output of the file driver: the [`Disks`] trait and what it does on a real file system.
//!
//! It is a trait so that a test can put a machine that loses power in its place ([`super::power_cut`]). Paths come from
//! the administrator's inventory only, never from the wire. Images are opened without following any symbolic link, must
//! be regular files, and are locked with `flock`, which a guest that runs on an image holds shared.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path};

use rustix::fs::{Advice, FallocateFlags, FlockOperation, Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;

use crate::blocks::Blocks;

/// What an image is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only: every source of a copy.
    Read,
    /// Reading and writing.
    Write,
    /// As `Write`, and made with mode 0600 and no octets when it isn't there.
    Create,
}

/// What changes when a file is written: a way to tell that somebody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Length in octets.
    pub octets: u64,
    /// Time of the last write, in nanoseconds since the Unix epoch.
    pub modified_ns: i128,
    /// Time of the last change of content or attributes, likewise; unlike the one above it cannot be set back.
    pub changed_ns: i128,
    /// Device and inode: an image that was replaced by another is not the same.
    pub device: u64,
    /// See `device`.
    pub inode: u64,
}

/// An open image. A lock taken on it ends when it is dropped.
pub trait DiskFile: Blocks {
    /// Its present stamp.
    fn stamp(&self) -> io::Result<Stamp>;
    /// Takes the exclusive lock without waiting; false when somebody (a guest that runs) holds one.
    fn try_lock(&self) -> io::Result<bool>;
    /// Makes the image longer or shorter; new octets are a hole.
    fn set_length(&self, octets: u64) -> io::Result<()>;
    /// Forgets what is cached of it, so that the next reads come from the medium. Only advice.
    fn forget_cache(&self);
    /// Becomes a copy of `source` that shares its blocks. False when the file system cannot do that.
    fn clone_from(&self, source: &dyn DiskFile) -> io::Result<bool>;
    /// The file behind it, for [`DiskFile::clone_from`]; none when there is no real one.
    fn as_file(&self) -> Option<&File>;
}

/// A file system, as far as the driver needs one.
pub trait Disks: Send + Sync {
    /// Opens an image: a regular file, reached without symbolic links.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;
    /// Reads a small file (a marker or a manifest) whole.
    fn read_small(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Replaces a small file atomically; durable on return.
    fn write_small(&self, path: &Path, octets: &[u8]) -> io::Result<()>;
    /// Removes a small file; durable on return. Fine when it isn't there.
    fn remove_small(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and those above it, mode 0700; durable on return. Fine when it is there.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Names of what a directory holds, unordered.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Renames within one directory; durable on return.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a directory with all it holds. Fine when it isn't there.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// Takes away the right to write a file, from everybody.
    fn make_read_only(&self, path: &Path) -> io::Result<()>;
}

/// The largest marker or manifest that is read: they are a few hundred octets, and a runaway file must not fill memory.
const SMALL_OCTETS_MAX: u64 = 1 << 20;

/// The machine's own file systems.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisks;

impl Disks for RealDisks {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
            Access::Create => OFlags::RDWR | OFlags::CREATE,
        };
        // NONBLOCK: a FIFO in an image's place must not hang the step; it is without effect on regular files.
        let file = open_no_symlinks(path, flags | OFlags::NONBLOCK | OFlags::CLOEXEC)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        if access == Access::Create {
            path.parent().map_or(Ok(()), sync_directory)?;
        }
        Ok(Box::new(RealFile { file }))
    }

    fn read_small(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = open_no_symlinks(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC)?;
        if file.metadata()?.len() > SMALL_OCTETS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than such a file can be"));
        }
        let mut octets = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&file, SMALL_OCTETS_MAX), &mut octets)?;
        Ok(octets)
    }

    fn write_small(&self, path: &Path, octets: &[u8]) -> io::Result<()> {
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        // A leftover of a crash may be in the way; nobody else writes this name.
        remove_file_if_there(&new)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(octets)?;
        file.sync_all()?;
        self.rename(&new, path)
    }

    fn remove_small(&self, path: &Path) -> io::Result<()> {
        remove_file_if_there(path)?;
        path.parent().map_or(Ok(()), sync_directory)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let missing = path.ancestors().take_while(|above| !above.is_dir()).count();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        // A new entry is durable once the directory that holds it is synced.
        path.ancestors().skip(1).take(missing).try_for_each(sync_directory)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        to.parent().map_or(Ok(()), sync_directory)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn make_read_only(&self, path: &Path) -> io::Result<()> {
        let mut permissions = fs::metadata(path)?.permissions();
        permissions.set_readonly(true);
        fs::set_permissions(path, permissions)
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn remove_file_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Opens without following a symbolic link in any component.
fn open_no_symlinks(path: &Path, flags: OFlags) -> io::Result<File> {
    // A mode without CREATE is refused by openat2.
    let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
    match rustix::fs::openat2(rustix::fs::CWD, path, flags, mode, ResolveFlags::NO_SYMLINKS) {
        Ok(descriptor) => Ok(File::from(descriptor)),
        // Old kernels do not have openat2, and some sandboxes answer EPERM for what they do not know.
        Err(Errno::NOSYS | Errno::PERM) => open_by_component(path, flags, mode),
        Err(error) => Err(error.into()),
    }
}

/// The same without openat2: each directory is opened with O_NOFOLLOW relative to the one before.
fn open_by_component(path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    let start = if path.is_absolute() { "/" } else { "." };
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(start, directory, Mode::empty())?;
    let mut rest = path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir)).peekable();
    while let Some(part) = rest.next() {
        if rest.peek().is_none() {
            return Ok(File::from(rustix::fs::openat(&at, part.as_os_str(), flags | OFlags::NOFOLLOW, mode)?));
        }
        at = rustix::fs::openat(&at, part.as_os_str(), directory, Mode::empty())?;
    }
    Err(io::ErrorKind::InvalidInput.into())
}

/// An open regular file.
struct RealFile {
    file: File,
}

impl Blocks for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(&self.file, offset, length),
            other => Ok(other?),
        }
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let length = self.length()?;
        if from >= length {
            return Ok(None);
        }
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(from)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL) => return Ok(Some(from..length)), // the file system can't tell
            Err(error) => return Err(error.into()),
        };
        match rustix::fs::seek(&self.file, SeekFrom::Hole(start)) {
            Ok(end) => Ok(Some(start..end.max(start + 1))),
            // Cut short meanwhile: the next read tells.
            Err(Errno::NXIO) => Ok(Some(start..length.max(start + 1))),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// What stands for a hole where the file system has none.
fn write_zeros(file: &File, offset: u64, length: u64) -> io::Result<()> {
    static ZEROS: [u8; 65_536] = [0; 65_536];
    let end = offset + length;
    let mut at = offset;
    while at < end {
        let octets = crate::blocks::narrow(end - at, ZEROS.len());
        file.write_all_at(&ZEROS[..octets], at)?;
        at += crate::blocks::widen(octets);
    }
    Ok(())
}

impl DiskFile for RealFile {
    fn stamp(&self) -> io::Result<Stamp> {
        let metadata = self.file.metadata()?;
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Ok(Stamp {
            octets: metadata.len(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    fn try_lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn set_length(&self, octets: u64) -> io::Result<()> {
        self.file.set_len(octets)
    }

    fn forget_cache(&self) {
        // Advice only: a file system that does not take it changes nothing about what is read.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    fn clone_from(&self, source: &dyn DiskFile) -> io::Result<bool> {
        let Some(source) = source.as_file() else { return Ok(false) };
        match rustix::fs::ioctl_ficlone(&self.file, source) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS | Errno::PERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn as_file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn links_are_not_followed_with_or_without_openat2() {
        let directory = directory();
        let base = directory.path().canonicalize().unwrap();
        fs::create_dir(base.join("real")).unwrap();
        fs::write(base.join("real/image"), b"x").unwrap();
        symlink(base.join("real"), base.join("alias")).unwrap();
        symlink(base.join("real/image"), base.join("real/link")).unwrap();
        for open in [open_no_symlinks, |path: &Path, flags| open_by_component(path, flags, Mode::empty())] {
            assert!(open(&base.join("real/image"), OFlags::RDONLY).is_ok());
            for path in ["alias/image", "real/link"] {
                let error = open(&base.join(path), OFlags::RDONLY).unwrap_err();
                let errno = error.raw_os_error().map(Errno::from_raw_os_error);
                assert!(matches!(errno, Some(Errno::LOOP | Errno::NOTDIR)), "{path}: {error}");
            }
        }
    }

    #[test]
    fn only_regular_files_are_images() {
        let directory = directory();
        let base = directory.path().canonicalize().unwrap();
        assert!(RealDisks.open(&base, Access::Read).is_err());
        assert!(RealDisks.open(Path::new("/dev/null"), Access::Read).is_err());
    }

    #[test]
    fn holes_are_seen_and_punched() {
        let directory = directory();
        let path = directory.path().canonicalize().unwrap().join("image");
        let image = RealDisks.open(&path, Access::Create).unwrap();
        image.set_length(10 << 20).unwrap();
        assert_eq!(image.next_data(0).unwrap(), None);
        image.write_at(4 << 20, &[1; 8192]).unwrap();
        assert_eq!(image.next_data(0).unwrap(), Some(4 << 20..(4 << 20) + 8192));
        image.punch(4 << 20, 4096).unwrap();
        assert_eq!(image.next_data(0).unwrap(), Some((4 << 20) + 4096..(4 << 20) + 8192));
    }

    #[test]
    fn a_second_opener_cannot_lock() {
        let directory = directory();
        let path = directory.path().canonicalize().unwrap().join("image");
        let first = RealDisks.open(&path, Access::Create).unwrap();
        let second = RealDisks.open(&path, Access::Read).unwrap();
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }

    #[test]
    fn small_files_are_replaced_whole() {
        let directory = directory();
        let path = directory.path().canonicalize().unwrap().join("marker");
        RealDisks.write_small(&path, b"one").unwrap();
        fs::write(path.with_file_name("marker.new"), b"left by a crash").unwrap();
        RealDisks.write_small(&path, b"two").unwrap();
        assert_eq!(RealDisks.read_small(&path).unwrap(), b"two");
        assert_eq!(RealDisks.list(directory.path()).unwrap(), ["marker"]);
    }
}
