# snjax on a CPU: docs/usage/howto/docker.md has the commands.
FROM python:3.12-slim-bookworm

WORKDIR /snjax
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY launch.py ./
COPY configs configs/
COPY experiments experiments/
COPY snjax snjax/
# The caches, for whatever user `docker run --user` names.
ENV HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER 65534
ENTRYPOINT ["python", "/snjax/launch.py"]
