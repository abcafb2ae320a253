//! A child process that cannot outlive us, and the signals it is sent.
//!
//! The kernel tells a child of its parent's death when the *thread* that started it ends. Threads
//! of an async runtime come and go, so every child is started by one thread that lives as long as
//! the process does.

use crate::logs;
use crate::measure::{self, Stat};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often the logs of the children are looked after.
const LOGS_EVERY: Duration = Duration::from_secs(60);

/// How long the last of a killed tree may take to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// How long stopping every member of a tree is tried: one that waits for the disk stops later.
const FROZEN_WITHIN: Duration = Duration::from_secs(2);

/// What becomes of a server when this process dies without stopping it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AtParentDeath {
    /// It shuts down in good order.
    #[default]
    ShutDown,
    /// It goes at once. For tests: nothing may be left over.
    Kill,
}

/// One process, told apart from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    started_ticks: u64,
    boot: String,
}

impl Identity {
    /// Of a process that exists now.
    pub(crate) fn of(pid: u32) -> io::Result<Identity> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Identity { pid, started_ticks: Stat::of(pid)?.started_ticks, boot })
    }

    /// As the lines of a pid file: number, start in clock ticks, the machine's boot.
    pub(crate) fn to_lines(&self) -> String {
        format!("{}\n{}\n{}\n", self.pid, self.started_ticks, self.boot)
    }

    /// Reads what `to_lines` wrote; `None` when it is anything else.
    pub(crate) fn from_lines(text: &str) -> Option<Identity> {
        let mut lines = text.lines();
        Some(Identity {
            pid: lines.next()?.trim().parse().ok()?,
            started_ticks: lines.next()?.trim().parse().ok()?,
            boot: lines.next()?.trim().to_owned(),
        })
    }

    /// Whether this very process still runs. A zombie does not, nor does another of its number.
    pub(crate) fn is_alive(&self) -> bool {
        Stat::of(self.pid).is_ok_and(|stat| !stat.has_ended())
            && Identity::of(self.pid).is_ok_and(|now| now == *self)
    }
}

/// A child and how it ends.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    /// Signals are sent, and the child is waited for, only under this lock: until it has been
    /// waited for, its number cannot belong to anybody else.
    child: Arc<Mutex<Child>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Starts a program in a process group of its own, so that a terminal's Ctrl-C is ours alone.
    ///
    /// When this process dies the child receives `at_parent_death`.
    pub(crate) fn start(command: Command, at_parent_death: Signal) -> io::Result<Process> {
        let child = start_child(command, at_parent_death)?;
        let pid = child.id();
        let child = Arc::new(Mutex::new(child));
        let (say, ended) = watch::channel(None);
        let waited_for = Arc::clone(&child);
        thread::Builder::new().name(format!("wait-{pid}")).spawn(move || {
            let number = Pid::from_raw(i32::try_from(pid).expect("the kernel's pids fit an i32"))
                .expect("a child's pid is not zero");
            // Does not take the exit status: that happens below, under the lock.
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(error) = rustix::process::waitid(WaitId::Pid(number), look) {
                if error != rustix::io::Errno::INTR {
                    break; // Nothing to wait for: it has been waited for already.
                }
            }
            match waited_for.lock().expect("no holder of this lock panics").wait() {
                Ok(status) => {
                    say.send_replace(Some(status));
                }
                Err(error) => tracing::error!(pid, %error, "a child could not be waited for"),
            }
        })?;
        Ok(Process { pid, child, ended })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    pub(crate) fn status(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Resolves when it has ended; at once when it already has.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.ended.clone();
        async move {
            // An error means that the waiting thread is gone, so nobody will ever say more.
            let _ = ended.wait_for(Option::is_some).await;
        }
    }

    /// Blocks until it has ended, for at most that long.
    pub(crate) fn wait(&self, patience: Duration) {
        let begun = Instant::now();
        while self.status().is_none() && begun.elapsed() < patience {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends it a signal. False: it has ended.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let mut child = self.child.lock().expect("no holder of this lock panics");
        matches!(child.try_wait(), Ok(None)) && send(self.pid, signal)
    }

    /// Stops it and all its descendants where they are. False: it has ended.
    pub(crate) fn freeze(&self) -> bool {
        if !self.signal(Signal::STOP) {
            return false;
        }
        // A signal is sent long before the last thread has stopped for it, and children may start
        // more until they are stopped themselves: look until all are.
        let begun = Instant::now();
        while begun.elapsed() < FROZEN_WITHIN {
            let mut running = self.descendants();
            running.retain(|(pid, _)| !measure::is_stopped(*pid));
            if running.is_empty() && measure::is_stopped(self.pid) {
                break;
            }
            for (pid, _) in running {
                send(pid, Signal::STOP);
            }
            thread::yield_now();
        }
        true
    }

    /// Lets it and all its descendants go on. False: it has ended.
    pub(crate) fn thaw(&self) -> bool {
        for (pid, _) in self.descendants() {
            send(pid, Signal::CONT);
        }
        self.signal(Signal::CONT)
    }

    /// `SIGKILL` to it and all its descendants, as when the power fails; returns when all are gone.
    pub(crate) fn kill(&self) {
        let begun = Instant::now();
        self.freeze();
        let below = self.descendants();
        self.signal(Signal::KILL);
        for (pid, _) in &below {
            send(*pid, Signal::KILL);
        }
        let same_lives = |pid: u32, then: &Stat| {
            Stat::of(pid).is_ok_and(|now| now.started_ticks == then.started_ticks && !now.has_ended())
        };
        while (self.status().is_none() || below.iter().any(|(pid, stat)| same_lives(*pid, stat)))
            && begun.elapsed() < KILLED_WITHIN
        {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Living descendants.
    fn descendants(&self) -> Vec<(u32, Stat)> {
        let below = measure::tree(self.pid).into_iter().skip(1);
        below
            .filter_map(|pid| Some((pid, Stat::of(pid).ok()?)))
            .filter(|(_, stat)| !stat.has_ended())
            .collect()
    }
}

/// Sends a signal to a process whose number is known to be meant. False: there is none.
pub(crate) fn send(pid: u32, signal: Signal) -> bool {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    number.is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
}

/// Runs a short-lived program to its end, feeding it `input`. It dies with us like the others.
///
/// Blocks; its standard output and error go where `command` says.
pub(crate) fn run_to_end(command: Command, input: &str) -> io::Result<ExitStatus> {
    let mut child = start_child(command, Signal::KILL)?;
    if let Some(mut stdin) = child.stdin.take() {
        use std::io::Write;
        stdin.write_all(input.as_bytes())?;
    }
    child.wait()
}

type Order = (Command, SyncSender<io::Result<Child>>);

/// Has the long-lived thread start a program.
fn start_child(mut command: Command, at_parent_death: Signal) -> io::Result<Child> {
    static STARTER: OnceLock<SyncSender<Order>> = OnceLock::new();

    command.process_group(0);
    die_with_this_process(&mut command, at_parent_death);
    let starter = STARTER.get_or_init(|| {
        let (order, orders) = mpsc::sync_channel::<Order>(0);
        thread::Builder::new()
            .name("starter".to_owned())
            .spawn(move || {
                loop {
                    match orders.recv_timeout(LOGS_EVERY) {
                        Ok((mut command, answer)) => {
                            // Nobody waiting any more: the child is dropped unwatched, and dies with us.
                            let _ = answer.send(command.spawn());
                        }
                        Err(RecvTimeoutError::Timeout) => logs::keep_small(),
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })
            .expect("a process that can start servers can start one thread");
        order
    });
    let (answer, answered) = mpsc::sync_channel(1);
    let gone = |_| io::Error::other("the thread that starts children has ended");
    starter
        .send((command, answer))
        .map_err(|_| io::Error::other("the thread that starts children has ended"))?;
    answered.recv().map_err(gone)?
}

/// Asks the kernel to signal the child when the starting thread, and so this process, ends.
#[allow(unsafe_code)] // `pre_exec` has no safe form, and the request must be made by the child itself.
fn die_with_this_process(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    let request = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // Died before the request was made: nobody would ever tell.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::from(rustix::io::Errno::SRCH));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only two system calls are made; neither allocates nor locks.
    unsafe {
        command.pre_exec(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    fn sleeper() -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & sleep 60"]).stdin(Stdio::null());
        Process::start(command, Signal::KILL).unwrap()
    }

    fn until(what: &str, met: impl Fn() -> bool) {
        let begun = Instant::now();
        while !met() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{what} did not happen within 10 s");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn killing_takes_the_whole_tree_even_when_it_is_frozen() {
        let process = sleeper();
        until("two sleepers below the shell", || process.descendants().len() == 2);
        let below: Vec<Identity> =
            process.descendants().into_iter().map(|(pid, _)| Identity::of(pid).unwrap()).collect();
        let identity = Identity::of(process.pid()).unwrap();
        assert!(process.freeze());
        assert!(process.descendants().iter().all(|(_, stat)| stat.state == b'T'));
        assert!(identity.is_alive());
        process.kill();
        assert!(!identity.is_alive());
        assert!(below.iter().all(|child| !child.is_alive()));
        assert!(!process.freeze() && !process.thaw() && !process.signal(Signal::TERM));
    }

    #[test]
    fn what_is_frozen_does_nothing_more_from_then_on() {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
        let process = Process::start(command, Signal::KILL).unwrap();
        for _ in 0..50 {
            assert!(process.freeze());
            assert!(measure::is_stopped(process.pid()));
            assert!(process.thaw());
        }
        process.kill();
    }

    #[test]
    fn a_thawed_tree_runs_again() {
        let process = sleeper();
        until("two sleepers below the shell", || process.descendants().len() == 2);
        assert!(process.freeze());
        assert!(process.thaw());
        until("all asleep instead of stopped", || {
            process.descendants().iter().all(|(_, stat)| stat.state == b'S')
                && Stat::of(process.pid()).unwrap().state == b'S'
        });
        process.kill();
    }

    #[tokio::test]
    async fn the_end_of_a_child_is_noticed_with_its_status() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 7"]);
        let process = Process::start(command, Signal::KILL).unwrap();
        process.ended().await;
        assert_eq!(process.status().unwrap().code(), Some(7));
    }

    #[test]
    fn a_child_survives_the_thread_that_asked_for_it() {
        let process = thread::spawn(sleeper).join().unwrap();
        thread::sleep(Duration::from_millis(100));
        assert!(Identity::of(process.pid()).unwrap().is_alive());
        process.kill();
    }

    #[test]
    fn a_zombie_and_another_process_of_the_same_number_are_not_alive() {
        let mut child = Command::new("true").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        until("a zombie", || Stat::of(child.id()).is_ok_and(|stat| stat.has_ended()));
        assert!(!identity.is_alive());
        child.wait().unwrap();

        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert_eq!(Identity::from_lines(&me.to_lines()), Some(me.clone()));
        assert!(!Identity { started_ticks: me.started_ticks + 1, ..me.clone() }.is_alive());
        assert!(!Identity { boot: "another".to_owned(), ..me }.is_alive());
        assert_eq!(Identity::from_lines("garbage"), None);
    }

    #[test]
    fn a_program_is_fed_its_input_and_its_status_returned() {
        let mut command = Command::new("sh");
        command.args(["-c", "read a; test \"$a\" = word"]).stdin(Stdio::piped());
        assert!(run_to_end(command, "word\n").unwrap().success());
    }
}
