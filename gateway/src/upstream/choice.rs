//! Which target gets the next request.

use std::sync::atomic::Ordering;

use super::target::Target;

/// The most targets an upstream may have: those tried for a request are remembered in the bits of a word.
pub(crate) const MAX_TARGETS: usize = 64;

/// The target with the fewest requests in flight among those that are not in `tried` (a set of bits) and that no check
/// found bad; equals take turns. Targets that are passed over for their failures come last, but they do come: that
/// nobody answered just now does not mean that nobody will, and whether it is worth asking is for the upstream's own
/// breaker to say. `now` is asked for only when something has failed.
pub(super) fn pick<'a, T: 'a>(
    targets: &'a [T],
    target: impl Fn(&'a T) -> &'a Target,
    (tried, turn): (u64, usize),
    now: impl Fn() -> u64,
) -> Option<usize> {
    if let [only] = targets {
        return (tried == 0 && !target(only).health.is_bad()).then_some(0);
    }
    // Whoever finds a target's time over and is not the first sees it open again the next time around.
    for _ in 0..targets.len() {
        let order = (0..targets.len()).map(|offset| turn.wrapping_add(offset) % targets.len());
        let (index, (is_out, _)) = order
            .filter(|index| tried & (1 << index) == 0)
            .filter_map(|index| {
                let target = target(&targets[index]);
                let is_out = !target.breaker.is_closed() && target.breaker.is_open(now());
                let key = (is_out, target.in_flight.load(Ordering::Relaxed));
                (!target.health.is_bad()).then_some((index, key))
            })
            .min_by_key(|(_, key)| *key)?;
        let breaker = &target(&targets[index]).breaker;
        if is_out || breaker.is_closed() || breaker.enter(now()).is_ok() {
            return Some(index);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::target::Site;
    use super::*;
    use url::Url;

    fn targets(count: u16) -> Vec<Arc<Target>> {
        let site = Site::new(&Url::parse("http://127.0.0.1:1/base/").unwrap()).unwrap();
        (0..count)
            .map(|port| Target::new(([127, 0, 0, 1], port + 1).into(), 0, &site))
            .collect()
    }

    fn choose(targets: &[Arc<Target>], tried: u64, turn: usize, now: u64) -> Option<usize> {
        pick(targets, |target| &**target, (tried, turn), || now)
    }

    #[test]
    fn the_fewest_in_flight_and_in_turn_among_equals() {
        let targets = targets(3);
        assert_eq!(
            [0, 1, 2, 3].map(|turn| choose(&targets, 0, turn, 0).unwrap()),
            [0, 1, 2, 0]
        );
        targets[0].in_flight.store(1, Ordering::Relaxed);
        assert_eq!(
            [0, 1, 2, 3].map(|turn| choose(&targets, 0, turn, 0).unwrap()),
            [1, 1, 2, 1]
        );
        assert_eq!(choose(&targets, 0b110, 0, 0), Some(0), "the others were tried");
        assert_eq!(choose(&targets, 0b111, 0, 0), None);
    }

    #[test]
    fn a_target_that_failed_is_passed_over_and_gets_one_request_when_its_time_is_over() {
        let targets = targets(2);
        assert!(targets[0].breaker.failed_for_good(0));
        targets[1].in_flight.store(9, Ordering::Relaxed);
        assert_eq!(choose(&targets, 0, 0, 1999), Some(1));
        assert_eq!(choose(&targets, 0, 0, 2000), Some(0), "one request");
        assert_eq!(choose(&targets, 0, 0, 2000), Some(1), "and no other");
        targets[0].breaker.answered();
        assert_eq!(choose(&targets, 0, 0, 2000), Some(0));
    }

    #[test]
    fn when_all_failed_they_are_tried_all_the_same() {
        let targets = targets(2);
        for target in &targets {
            target.breaker.failed_for_good(0);
        }
        assert_eq!([0, 1].map(|turn| choose(&targets, 0, turn, 0).unwrap()), [0, 1]);
        assert_eq!(choose(&targets, 0b01, 0, 0), Some(1));
        let alone = &targets[..1];
        assert_eq!(choose(alone, 0, 7, 0), Some(0));
        assert_eq!(choose(alone, 1, 7, 0), None);
    }

    #[test]
    fn a_target_that_checks_found_bad_gets_nothing_even_when_it_is_the_last() {
        let targets = targets(2);
        targets[0].health.checked(false, 1, 1);
        assert_eq!([0, 1].map(|turn| choose(&targets, 0, turn, 0).unwrap()), [1, 1]);
        targets[1].breaker.failed_for_good(0);
        assert_eq!(choose(&targets, 0, 0, 0), Some(1), "better one that failed");
        targets[1].health.checked(false, 1, 1);
        assert_eq!(choose(&targets, 0, 0, 0), None);
        assert_eq!(choose(&targets[..1], 0, 0, 0), None);
    }
}
