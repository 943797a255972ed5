//! Good answers, cut off at every byte.

use crate::answers::{Must, prove, start};
use crate::recorder::{Say, Then};

#[actix_web::test]
async fn an_answer_that_is_cut_at_any_byte_is_never_taken_for_a_whole_one() {
    let answers = [
        "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 10\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6;x\r\n456789\r\n0\r\nX-T: 1\r\n\r\n",
    ];
    for answer in answers {
        let head = answer.find("\r\n\r\n").unwrap() + 4;
        for then in [Then::Close, Then::Reset] {
            let says = (0..answer.len()).map(|cut| Say {
                bytes: answer.as_bytes()[..cut].to_vec(),
                then,
            });
            let (app, recorder) = start(says.collect()).await;
            for cut in 0..answer.len() {
                let must = if cut < head {
                    Must::Fail(502)
                } else {
                    Must::BreakOff(200)
                };
                let outcome = prove(&app, &recorder, &must, cut).await;
                outcome.unwrap_or_else(|fault| panic!("{:?} and {then:?}: {fault}", &answer[..cut]));
            }
        }
    }
}
