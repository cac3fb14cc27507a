//! Answers that wait for a place before they are put together.

use stoa_accounts::{Session, Sessions};
use stoa_base::Allowance;
use stoa_http::{Admission, Result, admission::Place};

/// Puts an answer together with [`Admission::assemble`], for a session that has not ended when it is
/// there: whoever waited for a place may have been logged out meanwhile, and is told nothing then.
pub(crate) async fn assemble<T, F>(
    sessions: &Sessions,
    admission: &Admission,
    session: &Session,
    weight: u64,
    assemble: impl Fn(Allowance) -> F,
) -> Result<(T, Place)>
where
    F: Future<Output = Result<T>>,
{
    let answer = admission.assemble(&session.user_id, weight, assemble).await?;
    sessions.check_goes_on_everywhere(session).await?;
    Ok(answer)
}
