"""Uploads an exported folder to the Hugging Face Hub, as a data set."""

from pathlib import Path

from encodeonce.harness.results.export import ExportError


def upload(folder: Path, repo: str, *, is_private: bool) -> str:
    """Make the data set if it is not there, and put a folder's files into it as one commit.

    Args:
        folder: that was exported.
        repo: ``"owner/name"``.
        is_private: whether a data set that is made is private; one that exists stays as it is.

    Returns:
        The commit's address.

    Raises:
        ExportError: the Hub refuses, or cannot be reached.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        api.create_repo(repo, repo_type="dataset", private=is_private, exist_ok=True)
        done = api.upload_folder(
            folder_path=folder,
            repo_id=repo,
            repo_type="dataset",
            commit_message="Answers of an encodeonce run",
            allow_patterns=["README.md", "data/*.parquet"],
        )
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        told = " ".join(str(error).split()).rstrip(".")
        raise ExportError(
            f"--repo {repo}: {told}. The files are in {folder}; `hf auth login` signs in"
        ) from error
    return str(done.commit_url)
