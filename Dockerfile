# owsuper in a container. Build it in a clone of the repository: docker build --tag owsuper .
# docs/operations.md says how an application is added.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY owsuper ./owsuper
COPY sql ./sql
RUN ["python", "-m", "venv", "/opt/owsuper"]
RUN ["/opt/owsuper/bin/pip", "install", "."]

FROM python:3.13-slim
# Kubernetes can only tell of a number that it is not root (runAsNonRoot).
RUN ["useradd", "--uid", "10001", "--user-group", "--no-create-home", "--home-dir", "/app", \
     "--shell", "/usr/sbin/nologin", "owsuper"]
COPY --from=build /opt/owsuper /opt/owsuper
ENV PATH=/opt/owsuper/bin:$PATH
WORKDIR /app
USER 10001:10001
# In the exec form owsuper is process 1: TERM reaches it, and nothing stands in between.
STOPSIGNAL SIGTERM
ENTRYPOINT ["owsuper"]
CMD ["worker"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --start-interval=2s --retries=3 \
    CMD ["owsuper", "healthcheck", "--ready", "--timeout", "8s"]
