//! Returns freed memory to the system: after a flood, glibc's allocator keeps most of what was freed, so it
//! is told from time to time to release it.
//!
//! Never in here: a limit on the memory in use. Each component limits what it keeps.

use std::io;

/// Interval between two checks of how much memory the process holds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
/// Most checks between two attempts that released nothing.
const LONGEST_WAIT: u32 = 64;
/// Bytes above the smallest footprint so far from which an attempt is made.
const WORTH_A_TRY: u64 = 8 * 1024 * 1024;

/// Starts the thread that does so. Only glibc needs it.
///
/// # Errors
/// When the system can't create another thread.
pub(crate) fn give_back() -> io::Result<()> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    std::thread::Builder::new()
        .name("memory".to_owned())
        .spawn(|| {
            let mut policy = Policy::new(glibc::resident());
            loop {
                std::thread::sleep(LOOK_EVERY);
                if policy.is_due(glibc::resident()) {
                    glibc::trim();
                    policy.tried(glibc::resident());
                }
            }
        })?;
    Ok(())
}

/// When to make an attempt. An attempt locks the allocator's arenas one by one while it walks their free
/// memory, so attempts that release nothing become rare.
#[cfg_attr(not(target_env = "gnu"), allow(dead_code))]
struct Policy {
    /// The smallest footprint so far.
    least: u64,
    before: u64,
    /// Checks left until the next attempt, and their initial number.
    left: u32,
    wait: u32,
}

#[cfg_attr(not(target_env = "gnu"), allow(dead_code))]
impl Policy {
    fn new(resident: u64) -> Self {
        Self {
            least: resident,
            before: resident,
            left: 0,
            wait: 1,
        }
    }

    /// Whether a process that holds this many bytes should make an attempt now.
    fn is_due(&mut self, resident: u64) -> bool {
        self.least = self.least.min(resident);
        self.before = resident;
        if resident < self.least + WORTH_A_TRY {
            self.wait = 1;
            self.left = 0;
            return false;
        }
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    /// Records an attempt after which this many bytes are held.
    fn tried(&mut self, resident: u64) {
        let gave_back = self.before.saturating_sub(resident);
        self.least = self.least.min(resident);
        self.wait = if gave_back >= WORTH_A_TRY / 2 {
            1
        } else {
            (self.wait * 2).min(LONGEST_WAIT)
        };
        self.left = self.wait;
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    /// Bytes of memory that the process holds; 0 if the system doesn't say.
    pub(super) fn resident() -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        pages.unwrap_or(0_u64) * page_size()
    }

    #[expect(unsafe_code, reason = "std has no function for the page size")]
    fn page_size() -> u64 {
        // SAFETY: it reads a constant of the system.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        u64::try_from(size).unwrap_or(4096)
    }

    #[expect(unsafe_code, reason = "no crate has a safe wrapper")]
    pub(super) fn trim() {
        // SAFETY: it takes the allocator's locks, and touches free memory only.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// How many of `looks` checks at that size lead to an attempt, each leaving `after` bytes.
    fn tries(policy: &mut Policy, looks: u32, resident: u64, after: u64) -> u32 {
        (0..looks)
            .map(|_| {
                let due = policy.is_due(resident);
                if due {
                    policy.tried(after);
                }
                u32::from(due)
            })
            .sum()
    }

    #[test]
    fn tries_that_give_nothing_back_become_rare_and_never_stop() {
        let mut policy = Policy::new(20 * MIB);
        assert_eq!(
            tries(&mut policy, 100, 27 * MIB, 27 * MIB),
            0,
            "not worth it"
        );
        // The memory that was released is in use again each time.
        assert_eq!(tries(&mut policy, 10, 100 * MIB, 40 * MIB), 10);
        // All of it is in use.
        let (first, later) = (64, 640);
        assert_eq!(tries(&mut policy, first, 900 * MIB, 899 * MIB), 6);
        assert_eq!(tries(&mut policy, later, 900 * MIB, 899 * MIB), 10);
        // It was freed: the next attempt releases it, and the following ones come at once.
        let mut looks = 1;
        while tries(&mut policy, 1, 900 * MIB, 30 * MIB) == 0 {
            looks += 1;
        }
        assert!(looks <= LONGEST_WAIT, "{looks}");
        assert_eq!(tries(&mut policy, 3, 60 * MIB, 30 * MIB), 3);
        assert_eq!(tries(&mut policy, 100, 22 * MIB, 22 * MIB), 0);
    }
}
