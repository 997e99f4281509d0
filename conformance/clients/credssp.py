"""How requests-credssp, which pypsrp and pywinrm share, says that the server turned it away."""

from requests_credssp.exceptions import AuthenticationException, NTStatusException

LOGON_FAILURE = 0xC000006D


def refusal(error):
    """The status of a refusal, as far as the package tells; None for anything else."""
    if isinstance(error, NTStatusException):
        return 401 if error.status == LOGON_FAILURE else None
    if isinstance(error, AuthenticationException) and "did not response" in str(error):
        # It quotes WWW-Authenticate, which a 401 has and a 403 has not.
        return 403 if str(error).endswith("actual ''") else 401
    return None
