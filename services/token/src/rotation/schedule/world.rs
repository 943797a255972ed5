//! What happens when a schedule is played: messages on their way, and one session at the service.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{ABSOLUTE, Act, Answer, Event, Fate, Holder, IDLE, Party, RETRY, Schedule, WAY, WINDOWS, forgery};
use crate::rotation::{Chain, Serial, Step, decide};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    Request {
        serial: Serial,
        fate: Fate,
        back: i64,
        sent_at: i64,
    },
    Reply {
        given: Serial,
        sent_at: i64,
    },
    /// None came in time.
    NoReply,
}

/// Requests without an answer, since the last that was sent later and had one.
struct Losses {
    first_sent_at: i64,
    last_sent_at: i64,
    tries: u32,
}

pub(super) struct World<'a> {
    schedule: &'a Schedule,
    now: i64,
    chain: Chain,
    ended: bool,
    idle_expires_at: i64,
    /// Every token there has been.
    made: Vec<Serial>,
    stored: Serial,
    stolen: Option<Serial>,
    losses: Option<Losses>,
    /// By time, and then in the order they were sent.
    on_the_way: BinaryHeap<Reverse<(i64, u32, Message)>>,
    sent: u32,
    pub(super) events: Vec<Event>,
}

impl<'a> World<'a> {
    pub(super) fn new(schedule: &'a Schedule) -> Self {
        let chain = Chain::opened(0);
        Self {
            schedule,
            now: 0,
            chain,
            ended: false,
            idle_expires_at: IDLE,
            made: vec![chain.current],
            stored: chain.current,
            stolen: None,
            losses: None,
            on_the_way: BinaryHeap::new(),
            sent: 0,
            events: Vec::new(),
        }
    }

    /// How long nothing is attempted before `act`: often as long as one of the windows.
    fn pause(&self, act: Act) -> i64 {
        let (dice, value) = (act.pause % 8, i64::from(act.pause / 8));
        if self.losses.is_some() {
            return match dice {
                0..=4 => value % 3_000,
                5 => WINDOWS.replay - 1 + value % 3,
                _ => value % RETRY,
            };
        }
        let pause = match dice {
            0 | 1 => value % 3,
            2 => WINDOWS.replay - 1 + value % 3,
            3 => WINDOWS.recovery - 1 + value % 3,
            4 => value % 15_000,
            5 | 6 => value % 400_000,
            _ => value % (26 * 3_600_000),
        };
        match self.schedule.holder {
            // What was overwritten is shown again within W2 of the rotation that it missed.
            Holder::TabsKeepingLast => pause % (WINDOWS.recovery - 2 * WAY),
            Holder::Alone | Holder::TabsKeepingNewest => pause,
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        if act.deed % 16 == 15 {
            let admitted = forgery::admit(&forgery::forged(self.chain.current, act.fate, usize::from(act.out)));
            self.events.push(Event::Forged { at: self.now, admitted });
            return;
        }
        let at = self.now + self.pause(act);
        self.deliver(at);
        self.now = at;
        match act.deed % 16 {
            11 if self.schedule.thief && self.stolen.is_none() => {
                let (at, serial) = (self.now, self.stored);
                self.stolen = Some(serial);
                self.events.push(Event::Copied { at, serial });
            }
            12 | 13 if let Some(stolen) = self.stolen => {
                if let Answer::Granted(given) = self.show(Party::Thief, stolen) {
                    self.stolen = Some(given);
                }
            }
            // One that was copied some time ago.
            14 if self.schedule.thief => {
                let any = self.made[usize::from(act.out) % self.made.len()];
                self.show(Party::Thief, any);
            }
            _ => self.refresh(act),
        }
    }

    /// A tab reads the storage and sends what is there.
    fn refresh(&mut self, act: Act) {
        let mut fate = match (self.schedule.holder, act.fate % 8) {
            (Holder::TabsKeepingLast, _) | (_, 0..=3) => Fate::Arrives,
            (_, 4) => Fate::RequestLost,
            (_, 5) => Fate::ReplyLost,
            (_, 6) => Fate::CrashBefore,
            _ => Fate::CrashAfter,
        };
        let now = self.now;
        // The last attempt has to arrive within W2, and ten reissues are all there are.
        let last =
            |losses: &Losses| now - losses.first_sent_at > WINDOWS.recovery - RETRY - 4 * WAY || losses.tries == 10;
        if self.losses.as_ref().is_some_and(last) {
            fate = Fate::Arrives;
        }
        if fate != Fate::Arrives {
            let losses = self.losses.get_or_insert(Losses {
                first_sent_at: now,
                last_sent_at: now,
                tries: 0,
            });
            (losses.last_sent_at, losses.tries) = (now, losses.tries + 1);
        }
        let longest = match self.schedule.holder {
            Holder::TabsKeepingLast => WAY / 2,
            Holder::Alone | Holder::TabsKeepingNewest => WAY,
        };
        let way = |value: u16| i64::from(value) % (longest + 1);
        let request = Message::Request {
            serial: self.stored,
            fate,
            back: way(act.back),
            sent_at: now,
        };
        self.send(way(act.out), request);
    }

    fn send(&mut self, way: i64, message: Message) {
        self.sent += 1;
        self.on_the_way.push(Reverse((self.now + way, self.sent, message)));
    }

    /// Lets everything arrive that arrives until then.
    pub(super) fn deliver(&mut self, until: i64) {
        while self.on_the_way.peek().is_some_and(|Reverse((at, _, _))| *at <= until) {
            if let Some(Reverse((at, _, message))) = self.on_the_way.pop() {
                self.now = at;
                self.receive(message);
            }
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::NoReply => {}
            Message::Reply { given, sent_at } => {
                // It was sent, and so decided, after whatever was lost.
                self.losses = self.losses.take().filter(|losses| sent_at <= losses.last_sent_at + WAY);
                self.stored = match self.schedule.holder {
                    Holder::TabsKeepingLast => given,
                    Holder::Alone | Holder::TabsKeepingNewest => self.stored.max(given),
                };
            }
            Message::Request {
                serial,
                fate,
                back,
                sent_at,
            } => {
                let answer = match fate {
                    Fate::RequestLost | Fate::CrashBefore => None,
                    _ => Some(self.show(Party::Owner, serial)),
                };
                let given = match answer {
                    Some(Answer::Granted(given)) => Some(given),
                    _ => None,
                };
                match (fate, given) {
                    (Fate::Arrives, Some(given)) => self.send(back, Message::Reply { given, sent_at }),
                    (Fate::Arrives, None) => {}
                    _ => {
                        self.events.push(Event::Broken {
                            at: self.now,
                            held: serial,
                            given,
                            chain: self.chain,
                            live: self.is_live(),
                            crashed: matches!(fate, Fate::CrashBefore | Fate::CrashAfter),
                        });
                        self.send(WAY, Message::NoReply);
                    }
                }
            }
        }
    }

    fn is_live(&self) -> bool {
        !self.ended && self.now < self.idle_expires_at.min(ABSOLUTE)
    }

    /// The service's one step.
    fn show(&mut self, by: Party, serial: Serial) -> Answer {
        let answer = if !self.is_live() {
            Answer::Over
        } else if let Step::Grant(chain) = decide(&self.chain, serial, self.now, self.schedule.windows) {
            if chain.current != self.chain.current {
                self.made.push(chain.current);
            }
            self.chain = chain;
            self.idle_expires_at = self.now + IDLE;
            Answer::Granted(chain.current)
        } else {
            self.ended = true;
            Answer::Reuse
        };
        self.events.push(Event::Shown {
            at: self.now,
            by,
            serial,
            answer,
            after: self.chain,
        });
        answer
    }
}
