//! Memory that was freed goes back to the system: glibc's allocator keeps most of what a flood took, so it
//! is told from time to time to give it back.
//!
//! Never in here: a bound on what is in use. Each part bounds what it keeps.

use std::io;

/// Between two looks at how much memory the process holds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
/// Looks between two tries that gave nothing back, at most.
const LONGEST_WAIT: u32 = 64;
/// More than the least that the process was seen to need, by so many bytes, may be worth a try.
const WORTH_A_TRY: u64 = 8 * 1024 * 1024;

/// Starts the thread that does so; elsewhere than on glibc there is nothing to do.
///
/// # Errors
/// When the system gives no more threads.
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

/// When to try. A try locks the allocator's arenas one by one, for as long as it takes to walk what is
/// free in each, so those that give nothing back become rare.
#[cfg_attr(not(target_env = "gnu"), allow(dead_code))]
struct Policy {
    /// The least that the process was seen to hold.
    least: u64,
    before: u64,
    /// Looks until the next try, and how many it was that time.
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

    /// Whether a process that holds so many bytes is to try now.
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

    /// A try was made, and left so many.
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
    /// Bytes of memory that the process holds; 0 where the system doesn't say.
    pub(super) fn resident() -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        pages.unwrap_or(0_u64) * page_size()
    }

    #[expect(unsafe_code, reason = "std doesn't tell the size of a page")]
    fn page_size() -> u64 {
        // SAFETY: it reads a constant of the system.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        u64::try_from(size).unwrap_or(4096)
    }

    #[expect(unsafe_code, reason = "no crate offers it as safe")]
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

    /// How many of so many looks at that size try, each try leaving `after` bytes.
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
        // As much as it gave back before came again.
        assert_eq!(tries(&mut policy, 10, 100 * MIB, 40 * MIB), 10);
        // All of it is in use.
        let (first, later) = (64, 640);
        assert_eq!(tries(&mut policy, first, 900 * MIB, 899 * MIB), 6);
        assert_eq!(tries(&mut policy, later, 900 * MIB, 899 * MIB), 10);
        // It was freed: the next try gives it back, and those after it come at once.
        let mut looks = 1;
        while tries(&mut policy, 1, 900 * MIB, 30 * MIB) == 0 {
            looks += 1;
        }
        assert!(looks <= LONGEST_WAIT, "{looks}");
        assert_eq!(tries(&mut policy, 3, 60 * MIB, 30 * MIB), 3);
        assert_eq!(tries(&mut policy, 100, 22 * MIB, 22 * MIB), 0);
    }
}
